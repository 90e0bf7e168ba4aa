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

drop function if exists devart.decide_approval(uuid, text, text);

-- Votes on an approval; with enough votes for the same, or one rejection, the decision is made.
-- decision: approve or reject; of a budget also substitute.
--   approve: the task goes. Of a budget: the limits in its way are raised by what is missing, and its money is set aside.
--   substitute (subject budget only): the task goes, and service_id pays for it.
--   reject: the task is cancelled.
-- Errors: P0002 no such approval, 55000 already decided, the task changed since it was requested, or the money cannot be set aside,
-- 22023 unknown decision or service_id, 23503 no such service, 23505 voted before, 42501 not a supervisor or one's own request.
create or replace function devart.decide_approval(
    approval_id uuid, decision text, comment text default null, service_id uuid default null
)
returns devart.approvals language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_approval devart.approvals;
    v_voter uuid := devart.my_user_id();
begin
    perform devart_private.require_supervisor();
    if decide_approval.decision is null or decide_approval.decision not in ('approve', 'substitute', 'reject') then
        perform devart_private.refuse_argument('decision', 'must be approve, substitute or reject');
    end if;
    if (decide_approval.decision = 'substitute') <> (decide_approval.service_id is not null) then
        perform devart_private.refuse_argument(
            'service_id', 'must be given with decision substitute and with no other');
    end if;
    v_approval := devart_private.open_approval(decide_approval.approval_id);
    if v_approval.subject <> 'budget' and decide_approval.decision = 'substitute' then
        perform devart_private.refuse_argument(
            'decision', 'must be approve or reject: substitute is for budgets');
    end if;
    if v_voter = v_approval.requested_by and decide_approval.decision <> 'reject' then
        raise exception 'nobody may approve their own request' using errcode = '42501';
    end if;
    insert into devart.approval_votes (approval_id, voter, approve, comment, substitute_service_id)
    values (v_approval.id, coalesce(v_voter, '00000000-0000-0000-0000-000000000000'),
            decide_approval.decision <> 'reject', decide_approval.comment, decide_approval.service_id);
    return devart_private.conclude_approval(v_approval, decide_approval.service_id);
end
$$;

-- Whether the task still is what was to be approved, or still waits for the money that was asked for.
create or replace function devart_private.approval_is_current(p_approval devart.approvals)
returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if p_approval.subject = 'budget' then
        return exists (
            select from devart_private.budget_waits w
            where w.task_id = p_approval.subject_id and devart_private.budget_digest(w) = p_approval.digest);
    end if;
    return exists (
        select from devart.tasks t
        where t.id = p_approval.subject_id and devart_private.task_digest(t) = p_approval.digest);
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
        perform devart_private.refuse_argument(
            'approval_id', format('names no approval: %s', p_approval_id), 'P0002');
    end if;
    if v_approval.status <> 'PENDING' or v_approval.expires_at <= now() then
        perform devart_private.refuse_argument(
            'approval_id', 'names an approval that is decided or expired', '55000');
    end if;
    if not devart_private.approval_is_current(v_approval) then
        perform devart_private.refuse_argument(
            'approval_id', 'names an approval whose task was changed or deleted since', '55000');
    end if;
    return v_approval;
end
$$;

drop function if exists devart_private.conclude_approval(devart.approvals);

-- Closes the approval if the votes decide it, and lets its task go or cancels it. p_substitute: what this vote wants billed instead.
create or replace function devart_private.conclude_approval(p_approval devart.approvals, p_substitute uuid)
returns devart.approvals language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_status devart.approval_status;
begin
    select case when bool_or(not v.approve) then 'REJECTED'
                when count(*) filter (where v.substitute_service_id is not distinct from p_substitute) >= p_approval.quorum
                    then 'APPROVED'
                else 'PENDING' end
    into v_status from devart.approval_votes v where v.approval_id = p_approval.id;
    if v_status = 'PENDING' then
        return p_approval;
    end if;
    update devart.approvals a set status = v_status, decided_at = now()
    where a.id = p_approval.id returning a.* into p_approval;
    if v_status = 'REJECTED' then
        update devart.tasks t set status = 'CANCELLED', finished_at = now(), last_error = 'approval rejected'
        where t.id = p_approval.subject_id and t.status = 'AWAITING_APPROVAL';
    elsif p_approval.subject = 'budget' then
        perform devart_private.grant_budget(p_approval.subject_id, p_substitute);
    else
        update devart.tasks t
        set status = case when devart_private.has_open_dependencies(t.id) then 'BLOCKED' else 'TODO' end::devart.task_status
        where t.id = p_approval.subject_id and t.status = 'AWAITING_APPROVAL';
    end if;
    return p_approval;
end
$$;
