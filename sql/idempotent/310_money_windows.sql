-- Budget windows: from when to when, opened when the first charge after the last one's end comes, and what people are told of them.
-- Lock order of everything that touches money: task, hold, budgets by id, services by id, closed windows by
-- id. Who needs a lock outside of this order takes it only if it is free (skip locked). So nobody waits in a circle.

-- The window of the local calendar that contains p_at. Windows follow each other without gaps, also where
-- a day begins at a time that the clocks skip or have twice. Weeks begin on Monday.
create or replace function devart_private.budget_window(
    p_period devart.budget_period, p_time_zone text, p_at timestamptz, out window_start timestamptz, out window_end timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_step interval := case p_period when 'none' then null else '1 ' || p_period::text end;
    v_local timestamp := date_trunc(nullif(p_period, 'none')::text, p_at at time zone p_time_zone);
begin
    if p_period = 'none' then
        window_start := p_at;
        window_end := 'infinity';
        return;
    end if;
    -- Midnight that comes twice counts the second time: until then it is the day before.
    if v_local at time zone p_time_zone > p_at then
        v_local := v_local - v_step;
    end if;
    window_start := v_local at time zone p_time_zone;
    window_end := (v_local + v_step) at time zone p_time_zone;
end
$$;

-- The spent_usd at which people must be told next: of a threshold that was not told of in this window,
-- or of the limit when reaching it suspends.
create or replace function devart_private.next_alert(p_budget_usd numeric, p_thresholds int[], p_alerted_percent int, p_suspends boolean)
returns numeric language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select least(
        (select min(p_budget_usd * t / 100) from unnest(p_thresholds) t where t > p_alerted_percent),
        case when p_suspends then p_budget_usd end)
$$;

-- The highest threshold that was reached and not told of; null when there is none.
create or replace function devart_private.reached_threshold(
    p_budget_usd numeric, p_thresholds int[], p_alerted_percent int, p_spent_usd numeric
)
returns int language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select max(t) from unnest(p_thresholds) t where t > p_alerted_percent and p_spent_usd * 100 >= p_budget_usd * t
$$;

create or replace function devart_private.check_time_zone(p_time_zone text)
returns void language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from pg_timezone_names z where z.name = p_time_zone) then
        perform devart_private.refuse_argument(
            'time_zone', format('names no time zone: %s', p_time_zone));
    end if;
end
$$;

-- Tells people that a service crossed a threshold (p_percent) or was suspended. One row for both: what
-- is crossed at once is told at once.
create or replace function devart_private.alert_service(p_service devart.service_registry, p_percent int, p_suspended boolean)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.enqueue('telegram.alert', p_service.id::text, jsonb_build_object(
        'kind', case when p_suspended then 'service_suspended' else 'budget_threshold' end,
        'scope', 'service', 'scope_id', p_service.id, 'service_id', p_service.id, 'service', p_service.name,
        'threshold_percent', p_percent, 'spent_usd', p_service.spent_usd, 'budget_usd', p_service.budget_usd,
        'window_start', p_service.window_start, 'window_end', p_service.window_end,
        'substitute_service_id', p_service.substitute_service_id,
        'substitute', (select s.name from devart.service_registry s where s.id = p_service.substitute_service_id)))
$$;

-- What follows from spending up to next_alert_usd: the alert, and suspension at a hard limit. The service is locked.
create or replace function devart_private.service_reached(p_service_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
    v_percent int;
    v_suspends boolean;
begin
    select s.* into v_service from devart.service_registry s where s.id = p_service_id;
    v_percent := devart_private.reached_threshold(
        v_service.budget_usd, v_service.alert_thresholds, v_service.alerted_percent, v_service.spent_usd);
    v_suspends := v_service.status = 'ACTIVE' and v_service.hard_limit and v_service.spent_usd >= v_service.budget_usd;
    update devart.service_registry s
    set status = case when v_suspends then 'SUSPENDED' else s.status end,
        alerted_percent = coalesce(v_percent, s.alerted_percent),
        next_alert_usd = devart_private.next_alert(
            s.budget_usd, s.alert_thresholds, coalesce(v_percent, s.alerted_percent),
            s.status = 'ACTIVE' and s.hard_limit and not v_suspends)
    where s.id = p_service_id
    returning s.* into v_service;
    if v_suspends or v_percent is not null then
        perform devart_private.alert_service(v_service, v_percent, v_suspends);
    end if;
end
$$;

-- The same for a budget of another scope, which refuses at its limit and suspends nobody. It is locked.
create or replace function devart_private.budget_reached(p_budget_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_budget devart.budgets;
    v_percent int;
begin
    select b.* into v_budget from devart.budgets b where b.id = p_budget_id;
    v_percent := devart_private.reached_threshold(
        v_budget.budget_usd, v_budget.alert_thresholds, v_budget.alerted_percent, v_budget.spent_usd);
    update devart.budgets b
    set alerted_percent = coalesce(v_percent, b.alerted_percent),
        next_alert_usd = devart_private.next_alert(
            b.budget_usd, b.alert_thresholds, coalesce(v_percent, b.alerted_percent), false)
    where b.id = p_budget_id;
    if v_percent is not null then
        perform devart_private.enqueue('telegram.alert', v_budget.id::text, jsonb_build_object(
            'kind', 'budget_threshold', 'scope', v_budget.scope, 'scope_id', v_budget.scope_id,
            'budget_id', v_budget.id, 'threshold_percent', v_percent, 'spent_usd', v_budget.spent_usd,
            'budget_usd', v_budget.budget_usd, 'window_start', v_budget.window_start, 'window_end', v_budget.window_end));
    end if;
end
$$;

-- Puts the open window of a service into the archive.
create or replace function devart_private.archive_window(p_service devart.service_registry)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.budget_windows (id, scope, scope_id, budget_usd, spent_usd, held_usd, window_start, window_end)
    values (p_service.window_id, 'service', p_service.id, p_service.budget_usd, p_service.spent_usd,
            p_service.held_usd, p_service.window_start, least(p_service.window_end, clock_timestamp()))
$$;

-- Puts the open window of another scope into the archive.
create or replace function devart_private.archive_window(p_budget devart.budgets)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.budget_windows (id, scope, scope_id, budget_usd, spent_usd, held_usd, window_start, window_end)
    values (p_budget.window_id, p_budget.scope, p_budget.id, p_budget.budget_usd, p_budget.spent_usd,
            p_budget.held_usd, p_budget.window_start, least(p_budget.window_end, clock_timestamp()))
$$;

-- Opens the window of this moment for a service, whose last one ended. The service is locked.
create or replace function devart_private.open_service_window(p_service_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
begin
    select s.* into v_service from devart.service_registry s where s.id = p_service_id;
    if v_service.window_end > clock_timestamp() then
        return;
    end if;
    perform devart_private.archive_window(v_service);
    update devart.service_registry s
    set window_id = devart.uuid_v7(), window_start = w.window_start, window_end = w.window_end, spent_usd = 0, held_usd = 0,
        status = case s.status when 'SUSPENDED' then 'ACTIVE' else s.status end, alerted_percent = 0,
        next_alert_usd = devart_private.next_alert(s.budget_usd, s.alert_thresholds, 0, s.hard_limit)
    from devart_private.budget_window(v_service.period, v_service.time_zone, clock_timestamp()) w
    where s.id = p_service_id;
    perform devart_private.wake_waiting(p_service_id);
end
$$;

-- Opens the window of this moment for a budget, whose last one ended. The budget is locked.
create or replace function devart_private.open_budget_window(p_budget_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_budget devart.budgets;
begin
    select b.* into v_budget from devart.budgets b where b.id = p_budget_id;
    if v_budget.window_end > clock_timestamp() then
        return;
    end if;
    perform devart_private.archive_window(v_budget);
    update devart.budgets b
    set window_id = devart.uuid_v7(), window_start = w.window_start, window_end = w.window_end, spent_usd = 0, held_usd = 0,
        alerted_percent = 0, next_alert_usd = devart_private.next_alert(b.budget_usd, b.alert_thresholds, 0, false)
    from devart_private.budget_window(v_budget.period, v_budget.time_zone, clock_timestamp()) w
    where b.id = p_budget_id;
    perform devart_private.wake_waiting(p_budget_id);
end
$$;

-- Keeps window, alerts and status in step with what an admin or supervisor decides about a budget: another
-- calendar begins a new window; enough money ends a suspension, too little begins one.
create or replace function devart_private.service_budget_before_write()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_exhausted boolean;
    v_new_limit boolean := tg_op = 'UPDATE'
        and (new.budget_usd, new.hard_limit, new.period, new.time_zone)
            is distinct from (old.budget_usd, old.hard_limit, old.period, old.time_zone);
    v_new_calendar boolean := tg_op = 'UPDATE' and (new.period, new.time_zone) is distinct from (old.period, old.time_zone);
begin
    if v_new_calendar then
        perform devart_private.archive_window(old);
        new.window_id := devart.uuid_v7();
        new.spent_usd := 0;
        new.held_usd := 0;
        new.alerted_percent := 0;
    end if;
    if tg_op = 'INSERT' or v_new_calendar then
        select w.window_start, w.window_end into new.window_start, new.window_end
        from devart_private.budget_window(new.period, new.time_zone, clock_timestamp()) w;
    end if;
    v_exhausted := new.hard_limit and coalesce(new.spent_usd >= new.budget_usd, false);
    if v_new_limit and new.status = 'SUSPENDED' and not v_exhausted then
        new.status := 'ACTIVE';
    elsif v_new_limit and new.status = 'ACTIVE' and v_exhausted then
        new.status := 'SUSPENDED';
        perform devart_private.alert_service(new, null, true);
    end if;
    new.next_alert_usd := devart_private.next_alert(
        new.budget_usd, new.alert_thresholds, new.alerted_percent, new.hard_limit and new.status = 'ACTIVE');
    return new;
end
$$;

-- By column: charges touch none of these.
create or replace trigger service_registry_budget
    before insert or update of budget_usd, hard_limit, alert_thresholds, period, time_zone on devart.service_registry
    for each row execute function devart_private.service_budget_before_write();

create or replace function devart_private.budgets_before_write()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_new_calendar boolean := tg_op = 'UPDATE' and (new.period, new.time_zone) is distinct from (old.period, old.time_zone);
begin
    perform devart_private.check_time_zone(new.time_zone);
    if v_new_calendar then
        perform devart_private.archive_window(old);
        new.window_id := devart.uuid_v7();
        new.spent_usd := 0;
        new.held_usd := 0;
        new.alerted_percent := 0;
    end if;
    if tg_op = 'INSERT' or v_new_calendar then
        select w.window_start, w.window_end into new.window_start, new.window_end
        from devart_private.budget_window(new.period, new.time_zone, clock_timestamp()) w;
    end if;
    new.next_alert_usd := devart_private.next_alert(new.budget_usd, new.alert_thresholds, new.alerted_percent, false);
    return new;
end
$$;

create or replace trigger budgets_before_write
    before insert or update of budget_usd, hard_limit, alert_thresholds, period, time_zone on devart.budgets
    for each row execute function devart_private.budgets_before_write();

-- A budget that is deleted leaves its window behind: holds still settle into it, and the ledger still adds up.
create or replace function devart_private.budgets_before_delete()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.archive_window(old);
    return old;
end
$$;

create or replace trigger budgets_before_delete before delete on devart.budgets
    for each row execute function devart_private.budgets_before_delete();
