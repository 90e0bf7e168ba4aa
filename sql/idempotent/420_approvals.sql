-- Approvals: what waits for people, and their votes. Nobody approves their own request, nobody
-- votes twice.
--
-- A subject, which is a value of devart.approval_subject, is one file 43N_approval_<subject>.sql.
-- It calls request_approval and has these functions of devart_private; nothing else changes for it:
--   approval_decisions_<subject>() returns text[]
--     what people can decide, of approve, substitute and reject
--   approval_is_current_<subject>(devart.approvals) returns boolean
--     whether what was to be approved is still the same: by its digest
--   approval_granted_<subject>(devart.approvals, uuid) returns void
--     does what was approved; with the service that people want billed instead, if they do
--   approval_rejected_<subject>(devart.approvals, text) returns void
--     what becomes of the subject without approval, and why: rejected, or nobody decided in time
-- and, if others than who asked may not approve either:
--   approval_interested_<subject>(devart.approvals) returns uuid[]
--     people whose own matter it is
--
-- Lock order: the task that an approval is about, if any, then the approval.
-- They are called by their name, which is made of an enum's value in a schema where only the owner
-- creates functions, so no caller can put a function of their own there.

-- The function that handles an event of the subject's approvals; null when there is none.
create or replace function devart_private.approval_handler(
    p_event text, p_subject devart.approval_subject
)
returns regproc language sql stable
set search_path = pg_catalog, pg_temp as $$
    select to_regproc(format('devart_private.approval_%s_%s', p_event, p_subject))
$$;

-- An approval that nothing handles could not be decided, and would hold up the expiry of all
-- others.
create or replace function devart_private.approvals_before_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if devart_private.approval_handler('rejected', new.subject) is null then
        perform devart_private.refuse_argument('subject', 'names a subject that nothing handles');
    end if;
    return new;
end
$$;

create or replace trigger approvals_before_insert before insert on devart.approvals
    for each row execute function devart_private.approvals_before_insert();

-- Asks people; gives the approval's id, or null when this is being asked already. p_expires_at
-- null: for as long as it takes.
create or replace function devart_private.request_approval(
    p_subject devart.approval_subject, p_subject_id uuid, p_digest bytea, p_requested_by uuid,
    p_expires_at timestamptz default null, p_detail jsonb default null
)
returns uuid language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.approvals (
        subject, subject_id, digest, quorum, requested_by, expires_at, detail
    ) values (
        p_subject, p_subject_id, p_digest, devart_private.setting_number('approval_quorum')::int,
        p_requested_by, p_expires_at, p_detail
    )
    on conflict do nothing
    returning id
$$;

drop function if exists devart.decide_approval(uuid, text, text);

-- Votes on an approval; with enough votes for the same, or one rejection, the decision is made.
-- decision: approve or reject; of a budget also substitute.
--   approve: the task goes. Of a budget: the limits in its way are raised by what is missing, and
--     its money is set aside.
--   substitute (subject budget only): the task goes, and service_id pays for it.
--   reject: the task is cancelled.
-- Errors: P0002 no such approval, 55000 already decided, the task changed since it was requested,
-- or the money cannot be set aside, 22023 unknown decision or service_id, 23503 no such service,
-- 23505 voted before, 42501 not a supervisor or one's own request.
create or replace function devart.decide_approval(
    approval_id uuid, decision text, comment text default null, service_id uuid default null
)
returns devart.approvals language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_approval devart.approvals;
    v_decisions text[];
    v_voter uuid := devart.my_user_id();
begin
    perform devart_private.require_supervisor();
    if decide_approval.decision is null
       or decide_approval.decision not in ('approve', 'substitute', 'reject') then
        perform devart_private.refuse_argument('decision', 'must be approve, substitute or reject');
    end if;
    if (decide_approval.decision = 'substitute') <> (decide_approval.service_id is not null) then
        perform devart_private.refuse_argument(
            'service_id', 'must be given with decision substitute and with no other');
    end if;
    v_approval := devart_private.open_approval(decide_approval.approval_id);
    execute format('select %s()', devart_private.approval_handler('decisions', v_approval.subject))
        into v_decisions;
    if decide_approval.decision <> all (v_decisions) then
        perform devart_private.refuse_argument('decision', format(
            'must be %s for subject %s', array_to_string(v_decisions, ' or '), v_approval.subject));
    end if;
    if decide_approval.decision <> 'reject'
       and v_voter = any (devart_private.approval_interested(v_approval)) then
        raise exception 'nobody may approve their own request' using errcode = '42501';
    end if;
    insert into devart.approval_votes (approval_id, voter, approve, comment, substitute_service_id)
    values (v_approval.id, coalesce(v_voter, '00000000-0000-0000-0000-000000000000'),
            decide_approval.decision <> 'reject', decide_approval.comment,
            decide_approval.service_id);
    update devart.approvals a set last_vote_at = clock_timestamp() where a.id = v_approval.id;
    return devart_private.conclude_approval(v_approval, decide_approval.service_id);
end
$$;

-- Who may not approve it: whoever asked, and those whose own matter the subject is.
create or replace function devart_private.approval_interested(p_approval devart.approvals)
returns uuid[] language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_handler regproc := devart_private.approval_handler('interested', p_approval.subject);
    v_people uuid[] := '{}';
begin
    if v_handler is not null then
        execute format('select %s($1)', v_handler) into v_people using p_approval;
    end if;
    return v_people || p_approval.requested_by;
end
$$;

-- The approval, locked, if it still takes votes and its subject is still what was to be approved.
create or replace function devart_private.open_approval(p_approval_id uuid)
returns devart.approvals language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_approval devart.approvals;
    v_is_current boolean;
begin
    perform t.id from devart.tasks t
    where t.id = (select a.subject_id from devart.approvals a where a.id = p_approval_id)
    for no key update;
    select a.* into v_approval from devart.approvals a where a.id = p_approval_id for update;
    if not found then
        perform devart_private.refuse_argument(
            'approval_id', format('names no approval: %s', p_approval_id), 'P0002');
    end if;
    if v_approval.status <> 'PENDING' or v_approval.expires_at <= now() then
        perform devart_private.refuse_argument(
            'approval_id', 'names an approval that is decided or expired', '55000');
    end if;
    execute format(
            'select %s($1)', devart_private.approval_handler('is_current', v_approval.subject))
        into v_is_current using v_approval;
    if not v_is_current then
        perform devart_private.refuse_argument(
            'approval_id', 'names an approval of what was changed or deleted since', '55000');
    end if;
    return v_approval;
end
$$;

drop function if exists devart_private.conclude_approval(devart.approvals);
drop function if exists devart_private.approval_is_current(devart.approvals);

-- Closes the approval if the votes decide it, and does what follows. p_substitute: what this vote
-- wants billed instead.
create or replace function devart_private.conclude_approval(
    p_approval devart.approvals, p_substitute uuid
)
returns devart.approvals language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_status devart.approval_status;
begin
    select case when bool_or(not v.approve) then 'REJECTED'
                when count(*) filter (
                    where v.substitute_service_id is not distinct from p_substitute
                ) >= p_approval.quorum then 'APPROVED'
                else 'PENDING' end
    into v_status from devart.approval_votes v where v.approval_id = p_approval.id;
    if v_status = 'PENDING' then
        return p_approval;
    end if;
    update devart.approvals a set status = v_status, decided_at = now()
    where a.id = p_approval.id returning a.* into p_approval;
    if v_status = 'REJECTED' then
        perform devart_private.reject_subject(p_approval, 'approval rejected');
    else
        execute format(
                'select %s($1, $2)', devart_private.approval_handler('granted', p_approval.subject))
            using p_approval, p_substitute;
    end if;
    return p_approval;
end
$$;

create or replace function devart_private.reject_subject(p_approval devart.approvals, p_why text)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    execute format(
            'select %s($1, $2)', devart_private.approval_handler('rejected', p_approval.subject))
        using p_approval, p_why;
end
$$;

-- Ends these approvals, which nobody decided in time; those that somebody decides just now are left
-- to them. Returns how many.
create or replace function devart_private.expire_these_approvals(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_approval devart.approvals;
    v_count int := 0;
begin
    for v_approval in
        select a.* from devart.approvals a where a.id = any (p_ids) order by a.expires_at
    loop
        perform t.id from devart.tasks t where t.id = v_approval.subject_id
        for no key update skip locked;
        continue when not found
            and exists (select from devart.tasks t where t.id = v_approval.subject_id);
        update devart.approvals a set status = 'EXPIRED', decided_at = now()
        where a.id = v_approval.id and a.status = 'PENDING'
        returning a.* into v_approval;
        continue when not found;
        perform devart_private.reject_subject(v_approval, 'approval expired');
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$$;

-- Ends approvals that nobody decided in time. Returns how many.
create or replace function devart_private.expire_approvals()
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('expire_these_approvals');
begin
    return devart_private.do_rows('expire_these_approvals', array(
        select a.id from devart.approvals a
        where a.status = 'PENDING' and a.expires_at <= now() and a.id <> all (v_put_off)
        order by a.expires_at limit 1000));
end
$$;

-- For subjects that are a task: cancels it if it still waits.
create or replace function devart_private.cancel_waiting_task(p_task_id uuid, p_why text)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    update devart.tasks t set status = 'CANCELLED', finished_at = now(), last_error = p_why
    where t.id = p_task_id and t.status = 'AWAITING_APPROVAL'
$$;
