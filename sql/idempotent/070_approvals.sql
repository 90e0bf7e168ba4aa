-- A task that needs a human waits here for one. Nobody approves their own request, nobody votes twice.

-- The digest of what is being approved: a later edit of the task does not slip through under it.
create or replace function devart_private.task_digest(p_task devart.tasks)
returns bytea language sql stable
set search_path = pg_catalog, pg_temp as $$
    select sha256(convert_to(jsonb_build_array(
        p_task.title, p_task.description, p_task.payload, p_task.service_id, p_task.estimated_cost_usd,
        p_task.required_capabilities)::text, 'UTF8'))
$$;

-- Opens the approval that a task waits for; there is at most one at a time.
create or replace function devart_private.request_task_approval(p_task_id uuid)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.approvals (subject, subject_id, digest, quorum, requested_by, expires_at)
    select 'task', t.id, devart_private.task_digest(t), devart_private.setting_number('approval_quorum')::int,
           t.created_by, now() + make_interval(secs => devart_private.setting_number('approval_expiry_seconds')::float8)
    from devart.tasks t where t.id = p_task_id
    on conflict do nothing
$$;

-- Votes on an approval; with enough approvals, or one rejection, the decision is made.
-- decision: approve or reject. A rejected task is cancelled.
-- Errors: P0002 no such approval, 55000 already decided or the task changed since it was requested,
-- 22023 unknown decision, 23505 voted before, 42501 not a supervisor or one's own request.
create or replace function devart.decide_approval(approval_id uuid, decision text, comment text default null)
returns devart.approvals language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_approval devart.approvals;
    v_voter uuid := devart.my_user_id();
begin
    perform devart_private.require_supervisor();
    if decide_approval.decision is null or decide_approval.decision not in ('approve', 'reject') then
        raise exception 'decision must be approve or reject' using errcode = '22023';
    end if;
    v_approval := devart_private.open_approval(decide_approval.approval_id);
    if v_voter = v_approval.requested_by and decide_approval.decision = 'approve' then
        raise exception 'nobody may approve their own request' using errcode = '42501';
    end if;
    insert into devart.approval_votes (approval_id, voter, approve, comment)
    values (v_approval.id, coalesce(v_voter, '00000000-0000-0000-0000-000000000000'),
            decide_approval.decision = 'approve', decide_approval.comment);
    return devart_private.conclude_approval(v_approval);
end
$$;

-- The approval, locked, if it still takes votes and its task is still what was to be approved.
create or replace function devart_private.open_approval(p_approval_id uuid)
returns devart.approvals language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_approval devart.approvals;
begin
    select a.* into v_approval from devart.approvals a where a.id = p_approval_id for update;
    if not found then
        raise exception 'approval_id names no approval: %', p_approval_id using errcode = 'P0002';
    end if;
    if v_approval.status <> 'PENDING' or v_approval.expires_at <= now() then
        raise exception 'approval_id names an approval that is decided or expired' using errcode = '55000';
    end if;
    if not exists (
        select from devart.tasks t
        where t.id = v_approval.subject_id and devart_private.task_digest(t) = v_approval.digest
    ) then
        raise exception 'approval_id names an approval whose task was changed or deleted since' using errcode = '55000';
    end if;
    return v_approval;
end
$$;

-- Closes the approval if the votes decide it, and lets its task go or cancels it.
create or replace function devart_private.conclude_approval(p_approval devart.approvals)
returns devart.approvals language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_status devart.approval_status;
begin
    select case when bool_or(not v.approve) then 'REJECTED'
                when count(*) >= p_approval.quorum then 'APPROVED'
                else 'PENDING' end
    into v_status from devart.approval_votes v where v.approval_id = p_approval.id;
    if v_status = 'PENDING' then
        return p_approval;
    end if;
    update devart.approvals a set status = v_status, decided_at = now()
    where a.id = p_approval.id returning a.* into p_approval;
    update devart.tasks t
    set status = case when v_status = 'REJECTED' then 'CANCELLED'
                      when devart_private.has_open_dependencies(t.id) then 'BLOCKED'
                      else 'TODO' end::devart.task_status,
        finished_at = case when v_status = 'REJECTED' then now() end,
        last_error = case when v_status = 'REJECTED' then 'approval rejected' end
    where t.id = p_approval.subject_id and t.status = 'AWAITING_APPROVAL';
    return p_approval;
end
$$;
