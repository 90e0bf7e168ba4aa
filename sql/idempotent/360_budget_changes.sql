-- Who may raise or edit a limit: supervisors raise the budget of a service, admins edit services
-- and budgets. (Who may do so by hand is in 900_policies.sql and 950_grants.sql, and by an approval
-- in 420_approvals.sql.)

-- Refuses what is no amount of money: NaN, infinity, and p_too_much or more. (What is negative, the
-- tables refuse.) Errors: 22023.
create or replace function devart_private.check_amount(
    p_field text, p_amount numeric, p_too_much numeric
)
returns void language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    if p_amount in ('NaN', 'Infinity', '-Infinity') then
        perform devart_private.refuse_argument(p_field, 'must be a number');
    elsif p_amount >= p_too_much then
        perform devart_private.refuse_argument(
            p_field, format('must be less than %s', trim_scale(p_too_much)));
    end if;
end
$$;

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
    perform devart_private.check_amount('amount_usd', increase_budget.amount_usd, 1e12);
    perform devart_private.check_amount('budget_usd', increase_budget.budget_usd, 1e21);
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
        'substitute_service_id', 'alert_thresholds', 'hard_limit', 'estimate_floor_usd']);
    perform devart_private.check_amount(
        'budget_usd', (update_service.changes ->> 'budget_usd')::numeric, 1e21);
    perform devart_private.check_amount(
        'estimate_floor_usd', (update_service.changes ->> 'estimate_floor_usd')::numeric, 1e12);
    v_service := devart_private.service_to_change(update_service.service_id);
    v_service := jsonb_populate_record(v_service, update_service.changes);
    update devart.service_registry s
    set name = v_service.name, description = v_service.description, status = v_service.status,
        budget_usd = v_service.budget_usd, period = v_service.period,
        time_zone = v_service.time_zone, substitute_service_id = v_service.substitute_service_id,
        alert_thresholds = v_service.alert_thresholds, hard_limit = v_service.hard_limit,
        estimate_floor_usd = v_service.estimate_floor_usd
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
    perform devart_private.check_amount(
        'budget_usd', (update_budget.changes ->> 'budget_usd')::numeric, 1e21);
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
