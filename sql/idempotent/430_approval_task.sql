-- Approvals of a task that needs a human before it runs (subject task; see 420_approvals.sql).

-- The digest of what is being approved: a later edit of the task does not slip through under it.
create or replace function devart_private.task_digest(p_task devart.tasks)
returns bytea language sql stable
set search_path = pg_catalog, pg_temp as $$
    select sha256(convert_to(jsonb_build_array(
        p_task.title, p_task.description, p_task.payload, p_task.service_id,
        p_task.estimated_cost_usd, p_task.required_capabilities)::text, 'UTF8'))
$$;

-- Opens the approval that a task waits for; there is at most one at a time.
create or replace function devart_private.request_task_approval(p_task_id uuid)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.request_approval(
        'task', t.id, devart_private.task_digest(t), t.created_by,
        now() + make_interval(
            secs => devart_private.setting_number('approval_expiry_seconds')::float8))
    from devart.tasks t where t.id = p_task_id
$$;

create or replace function devart_private.approval_decisions_task()
returns text[] language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select '{approve,reject}'::text[]
$$;

create or replace function devart_private.approval_is_current_task(p_approval devart.approvals)
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from devart.tasks t
        where t.id = p_approval.subject_id and devart_private.task_digest(t) = p_approval.digest)
$$;

create or replace function devart_private.approval_granted_task(
    p_approval devart.approvals, p_substitute uuid
)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform t.id from devart.tasks t where t.id = p_approval.subject_id for no key update;
    perform devart_private.resume_task(p_approval.subject_id);
end
$$;

create or replace function devart_private.approval_rejected_task(
    p_approval devart.approvals, p_why text
)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.cancel_waiting_task(p_approval.subject_id, p_why)
$$;
