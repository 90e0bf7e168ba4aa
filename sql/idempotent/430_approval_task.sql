-- Approvals of a task that needs a human before it runs (subject task; see 420_approvals.sql).

-- The digest of what is approved: a later edit of the task does not slip through under it. An old
-- payload that nobody can read, which no claim hands out and no edit brings back, counts as the
-- reason why: as text it may be a gigabyte, and an error here would stop whoever promotes, rescues
-- or unblocks other tasks along with it.
create or replace function devart_private.content_digest(
    p_title text, p_description text, p_payload jsonb, p_service_id uuid,
    p_estimated_cost_usd numeric, p_required_capabilities text[]
)
returns bytea language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select sha256(convert_to(jsonb_build_array(
        p_title, p_description, devart.readable_json(p_payload), p_service_id,
        p_estimated_cost_usd, p_required_capabilities)::text, 'UTF8'))
$$;

create or replace function devart_private.task_digest(p_task devart.tasks)
returns bytea language sql stable
set search_path = pg_catalog, pg_temp as $$
    select devart_private.content_digest(
        p_task.title, p_task.description, p_task.payload, p_task.service_id,
        p_task.estimated_cost_usd, p_task.required_capabilities)
$$;

-- Whether people voted for the task with exactly this content, and it was not reopened since. Asked
-- by the one place that decides what may run, pg_devart/src/tasks/runnable.rs. The votes are
-- counted again: a status alone is not enough.
create or replace function devart_private.is_approved(p_task_id uuid, p_digest bytea)
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from devart.approvals a
        where a.subject = 'task' and a.subject_id = p_task_id and a.digest = p_digest
          and a.status = 'APPROVED' and a.voided_at is null
          and a.quorum <= (
              select count(*) from devart.approval_votes v
              where v.approval_id = a.id and v.approve
                and v.voter is distinct from a.requested_by)
    )
$$;

-- Opens the approval that a task waits for; there is at most one at a time. What was asked or
-- granted before counts no more.
create or replace function devart_private.request_task_approval(p_task_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
    v_digest bytea;
begin
    select t.* into v_task from devart.tasks t where t.id = p_task_id;
    v_digest := devart_private.task_digest(v_task);
    update devart.approvals a set voided_at = now()
    where a.subject = 'task' and a.subject_id = p_task_id and a.status = 'APPROVED'
      and a.voided_at is null;
    update devart.approvals a set status = 'EXPIRED', decided_at = now()
    where a.subject = 'task' and a.subject_id = p_task_id and a.status = 'PENDING'
      and a.digest <> v_digest;
    perform devart_private.request_approval(
        'task', p_task_id, v_digest,
        coalesce(devart.my_user_id(), devart.my_agent_id(), v_task.created_by),
        now() + make_interval(
            secs => devart_private.setting_number('approval_expiry_seconds')::float8));
end
$$;

-- Called by the history (pg_devart/src/tasks/history.rs) for a task that needs approval and begins
-- to wait for people. p_anew: it had ended, so that what was granted counts no more. Otherwise it
-- may wait for money only, with its approval intact; without anything to wait for, it would wait
-- for ever.
create or replace function devart_private.ask_about_task(p_task_id uuid, p_anew boolean)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if p_anew or not (
        select devart_private.is_approved(t.id, devart_private.task_digest(t))
        from devart.tasks t where t.id = p_task_id
    ) or not exists (
        select from devart_private.budget_waits w where w.task_id = p_task_id
    ) then
        perform devart_private.request_task_approval(p_task_id);
    end if;
end
$$;

-- An edit reopens the question. Whoever makes it is remembered in every state: a failed task may be
-- given another life by somebody else, and what runs then is the editor's all the same.
create or replace function devart_private.tasks_after_content_edit()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    insert into devart_private.task_editors (task_id, editor)
    select new.id, e.editor from (values (devart.my_user_id()), (devart.my_agent_id())) e (editor)
    where e.editor is not null
    on conflict do nothing;
    if new.needs_approval and new.status = 'AWAITING_APPROVAL' then
        perform devart_private.request_task_approval(new.id);
    end if;
    return null;
end
$$;

create or replace trigger tasks_after_content_edit
    after update of title, description, payload, service_id, estimated_cost_usd,
        required_capabilities
    on devart.tasks
    for each row when (
        (new.title::text, new.description::text, new.payload, new.service_id,
         new.estimated_cost_usd::numeric, new.required_capabilities::text[])
        is distinct from
        (old.title::text, old.description::text, old.payload, old.service_id,
         old.estimated_cost_usd::numeric, old.required_capabilities::text[])
    )
    execute function devart_private.tasks_after_content_edit();

-- Called by the history for each task that leaves AWAITING_APPROVAL, however: nothing is asked any
-- more.
create or replace function devart_private.end_asking(p_task_id uuid)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    update devart.approvals a set status = 'EXPIRED', decided_at = now()
    where a.subject = 'task' and a.subject_id = p_task_id and a.status = 'PENDING'
$$;

create or replace function devart_private.tasks_after_delete_asking()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.end_asking(old.id);
    delete from devart_private.task_editors e where e.task_id = old.id;
    return null;
end
$$;

create or replace trigger tasks_after_delete_asking after delete on devart.tasks
    for each row execute function devart_private.tasks_after_delete_asking();

-- Whoever made the task, changed what is in it, or asked for it in any of its forms.
create or replace function devart_private.approval_interested_task(p_approval devart.approvals)
returns uuid[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    select array(
        select a.requested_by from devart.approvals a
        where a.subject = 'task' and a.subject_id = p_approval.subject_id
          and a.requested_by is not null
        union
        select e.editor from devart_private.task_editors e where e.task_id = p_approval.subject_id
        union
        select t.created_by from devart.tasks t
        where t.id = p_approval.subject_id and t.created_by is not null)
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
