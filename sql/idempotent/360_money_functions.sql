-- What supervisors and agents do about money beyond reserving and settling, which is native
-- (pg_devart/src/money).

-- The service, locked, in the window of this moment. Errors: P0002.
create or replace function devart_private.service_to_change(p_service_id uuid)
returns devart.service_registry language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
begin
    perform devart_private.lock_services(array[p_service_id], true);
    select s.* into v_service from devart.service_registry s where s.id = p_service_id;
    if not found then
        perform devart_private.refuse_argument(
            'service_id', format('names no service: %s', p_service_id), 'P0002');
    end if;
    return v_service;
end
$$;

-- Raises a service's budget by amount_usd, or to budget_usd (US dollars; one of the two), and gives
-- the service. A suspension ends when there is room again, and waiting tasks go on. (Lowering a
-- budget is an edit of the service, for admins.) Errors: P0002 no such service, 22023 neither or
-- both, or not an increase, 55000 the service has no limit, 42501 not a supervisor.
create or replace function devart.increase_budget(
    service_id uuid, amount_usd numeric default null, budget_usd numeric default null
)
returns devart.service_registry language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
begin
    perform devart_private.require_supervisor();
    if num_nonnulls(increase_budget.amount_usd, increase_budget.budget_usd) <> 1 then
        perform devart_private.refuse_argument(
            'amount_usd', 'or budget_usd must be given, and only one of them');
    end if;
    if increase_budget.amount_usd <= 0 then
        perform devart_private.refuse_argument('amount_usd', 'must be more than 0');
    end if;
    v_service := devart_private.service_to_change(increase_budget.service_id);
    if v_service.budget_usd is null then
        perform devart_private.refuse_argument(
            'service_id', 'names a service without a limit', '55000');
    end if;
    if increase_budget.budget_usd < v_service.budget_usd then
        perform devart_private.refuse_argument(
            'budget_usd',
            format('must not be less than the budget, which is %s', v_service.budget_usd));
    end if;
    update devart.service_registry s
    set budget_usd = coalesce(increase_budget.budget_usd, s.budget_usd + increase_budget.amount_usd)
    where s.id = increase_budget.service_id
    returning s.* into v_service;
    return v_service;
end
$$;

-- The gate before a call that costs money: reserves as reserve_charge does and answers the same.
-- When a task's reserve is refused, the task becomes AWAITING_APPROVAL, with an approval of subject
-- budget, instead of failing; the answer then has task_status and approval_id, and the caller's
-- lease is over. ask false leaves the task with its agent, which may shrink its request to
-- max_affordable_units. An unknown price never makes a task wait: it is the request that must
-- change. Errors: as reserve_charge.
-- (Dropped: its form without ttl, beside which calls would be ambiguous.)
drop function if exists devart.dispatch_task(uuid, numeric, jsonb, uuid, uuid, text, boolean);
create or replace function devart.dispatch_task(
    service_id uuid,
    estimate_usd numeric default null,
    usage jsonb default null,
    task_id uuid default null,
    lease_token uuid default null,
    idempotency_key text default null,
    ask boolean default true,
    ttl interval default '10 minutes'
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_answer jsonb;
    v_agent_id uuid;
begin
    select t.agent_id into v_agent_id from devart.tasks t
    where t.id = dispatch_task.task_id for no key update;
    perform devart_private.free_granted_holds(dispatch_task.task_id, v_agent_id);
    v_answer := devart.reserve_charge(
        dispatch_task.service_id, dispatch_task.estimate_usd, dispatch_task.usage,
        dispatch_task.task_id, dispatch_task.lease_token, dispatch_task.idempotency_key,
        dispatch_task.ttl);
    if (v_answer ->> 'admitted')::boolean or dispatch_task.task_id is null or not dispatch_task.ask
       or v_answer ->> 'code' = 'price_unknown' then
        return v_answer;
    end if;
    return v_answer || jsonb_build_object(
        'task_status', 'AWAITING_APPROVAL',
        'approval_id', devart_private.park_task(
            dispatch_task.task_id, v_agent_id,
            v_answer || jsonb_build_object('service_id', dispatch_task.service_id), false));
end
$$;

-- What people granted a task (grant_budget) and no claim has taken up is what its agent asks for
-- now: given back, to be reserved anew in the same transaction.
create or replace function devart_private.free_granted_holds(p_task_id uuid, p_agent_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_granted uuid[];
begin
    v_granted := array(
        select h.id from devart.holds h
        where h.task_id = p_task_id and h.status = 'HELD' and h.follows_lease and h.attempt is null
        for no key update);
    if v_granted <> '{}' then
        perform devart_private.lock_budgets(devart_private.budgets_of(p_agent_id, p_task_id), true);
        perform devart_private.release_holds(v_granted, 'RELEASED');
    end if;
end
$$;

-- Edits a service. changes: column to new value. A new period or time zone begins a new window; a
-- budget above what is spent ends a suspension, one below begins it. status DISABLED takes the
-- service out of use, until it is ACTIVE again. Errors: P0002 no such service, 22023 unknown field
-- or a value that makes no sense, 42501 not an admin.
create or replace function devart.update_service(service_id uuid, changes jsonb)
returns devart.service_registry language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
begin
    perform devart_private.require_admin();
    perform devart_private.check_changes(update_service.changes, array[
        'name', 'description', 'status', 'budget_usd', 'period', 'time_zone',
        'substitute_service_id', 'alert_thresholds', 'hard_limit']);
    v_service := devart_private.service_to_change(update_service.service_id);
    v_service := jsonb_populate_record(v_service, update_service.changes);
    update devart.service_registry s
    set name = v_service.name, description = v_service.description, status = v_service.status,
        budget_usd = v_service.budget_usd, period = v_service.period,
        time_zone = v_service.time_zone, substitute_service_id = v_service.substitute_service_id,
        alert_thresholds = v_service.alert_thresholds, hard_limit = v_service.hard_limit
    where s.id = update_service.service_id
    returning s.* into v_service;
    return v_service;
end
$$;

-- The budget, locked, for an admin, in the window of this moment. Errors: P0002, 42501.
create or replace function devart_private.budget_to_manage(p_budget_id uuid)
returns devart.budgets language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_budget devart.budgets;
begin
    perform devart_private.require_admin();
    select b.* into v_budget from devart_private.lock_budgets(array[p_budget_id], true) b;
    if not found then
        perform devart_private.refuse_argument(
            'budget_id', format('names no budget: %s', p_budget_id), 'P0002');
    end if;
    return v_budget;
end
$$;

-- Edits a budget. changes: column to new value. A new period or time zone begins a new window.
-- Errors: P0002 no such budget, 22023 unknown field or a value that makes no sense, 42501 not an
-- admin.
create or replace function devart.update_budget(budget_id uuid, changes jsonb)
returns devart.budgets language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_budget devart.budgets;
begin
    v_budget := devart_private.budget_to_manage(update_budget.budget_id);
    perform devart_private.check_changes(
        update_budget.changes,
        array['budget_usd', 'period', 'time_zone', 'hard_limit', 'alert_thresholds']);
    v_budget := jsonb_populate_record(v_budget, update_budget.changes);
    update devart.budgets b
    set budget_usd = v_budget.budget_usd, period = v_budget.period, time_zone = v_budget.time_zone,
        hard_limit = v_budget.hard_limit, alert_thresholds = v_budget.alert_thresholds
    where b.id = update_budget.budget_id
    returning b.* into v_budget;
    return v_budget;
end
$$;

-- Ends a budget. What was charged under it stays in devart.budget_windows. Errors: P0002 no such
-- budget, 42501 not an admin.
create or replace function devart.delete_budget(budget_id uuid)
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.budget_to_manage(delete_budget.budget_id);
    delete from devart.budgets b where b.id = delete_budget.budget_id;
    perform devart_private.wake_waiting(delete_budget.budget_id);
end
$$;
