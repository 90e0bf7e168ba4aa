-- Approvals of money for a task that waits for it (subject budget; see 420_approvals.sql). Asked by
-- park_task in 350_money_waits.sql.

-- What exactly is asked: the task, who pays and how much.
create or replace function devart_private.budget_digest(p_wait devart_private.budget_waits)
returns bytea language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select sha256(convert_to(
        jsonb_build_array(p_wait.task_id, p_wait.service_id, p_wait.needed_usd)::text, 'UTF8'))
$$;

create or replace function devart_private.approval_decisions_budget()
returns text[] language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select '{approve,substitute,reject}'::text[]
$$;

create or replace function devart_private.approval_is_current_budget(p_approval devart.approvals)
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from devart_private.budget_waits w
        where w.task_id = p_approval.subject_id
          and devart_private.budget_digest(w) = p_approval.digest)
$$;

-- Whoever made the task or one above it, also one that was deleted (devart_private.task_lines), and
-- whose own budget would be raised.
create or replace function devart_private.approval_interested_budget(p_approval devart.approvals)
returns uuid[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive line (continues_at, creator_ids) as (
        select l.continues_at, l.creator_ids from devart_private.task_lines l
        where l.task_id = p_approval.subject_id
        union
        select l.continues_at, l.creator_ids
        from line n join devart_private.task_lines l on l.task_id = n.continues_at
    )
    select array(
        select t.created_by from devart.tasks t
        where t.id = p_approval.subject_id and t.created_by is not null
        union
        select u from line l, unnest(l.creator_ids) u
        union
        select b.scope_id from devart.budgets b
        where b.scope = 'user'
          and b.id = any (devart_private.budgets_of(null, p_approval.subject_id)))
$$;

-- Raises each hard limit that stands in the way of p_wait by what is missing, as people approved.
-- Budgets first, then the service. (Who may approve is decided in 420_approvals.sql.)
create or replace function devart_private.raise_budgets_for(p_wait devart_private.budget_waits)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.lock_budgets(
        devart_private.budgets_of(p_wait.agent_id, p_wait.task_id), true);
    perform devart_private.lock_services(array[p_wait.service_id], true);
    update devart.budgets b set budget_usd = b.spent_usd + b.held_usd + p_wait.needed_usd
    where b.id = any (devart_private.budgets_of(p_wait.agent_id, p_wait.task_id))
      and b.hard_limit and b.spent_usd + b.held_usd + p_wait.needed_usd > b.budget_usd;
    update devart.service_registry s
    -- A suspension ends only with room for more than nothing.
    set budget_usd = s.spent_usd + s.held_usd + greatest(p_wait.needed_usd, 0.000001)
    where s.id = p_wait.service_id
      and s.hard_limit
      and s.spent_usd + s.held_usd + greatest(p_wait.needed_usd, 0.000001) > s.budget_usd;
end
$$;

drop function if exists devart_private.grant_budget(uuid, uuid);

-- Raises the limits, or bills p_substitute instead; and sets the money aside for this task, so that
-- nobody else takes what was approved for it. The hold waits a day for the claim.
-- Errors: 55000 the money cannot be set aside even so.
create or replace function devart_private.approval_granted_budget(
    p_approval devart.approvals, p_substitute uuid
)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_task_id uuid := p_approval.subject_id;
    v_wait devart_private.budget_waits;
    v_verdict jsonb;
begin
    perform t.id from devart.tasks t where t.id = v_task_id for no key update;
    select w.* into v_wait from devart_private.budget_waits w where w.task_id = v_task_id;
    if not found then
        perform devart_private.refuse_argument(
            'approval_id', 'names an approval whose task does not wait any more', '55000');
    end if;
    if p_substitute is null then
        perform devart_private.raise_budgets_for(v_wait);
    else
        -- Before the money is set aside: an edit voids what was granted before it.
        update devart.tasks t set service_id = p_substitute where t.id = v_task_id;
        v_wait.service_id := p_substitute;
    end if;
    v_verdict := devart_private.hold_for_task(
        v_wait.service_id, v_wait.needed_usd, v_wait.agent_id, v_task_id, interval '1 day');
    if not (v_verdict ->> 'admitted')::boolean then
        perform devart_private.refuse_argument(
            'approval_id',
            format('names an approval whose money cannot be set aside: %s',
                   left(v_verdict ->> 'reason', 1000)),
            '55000');
    end if;
    perform devart_private.resume_task(v_task_id);
end
$$;

create or replace function devart_private.approval_rejected_budget(
    p_approval devart.approvals, p_why text
)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.cancel_waiting_task(p_approval.subject_id, p_why)
$$;
