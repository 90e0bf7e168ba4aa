-- Budget windows: from when to when, opened when the first charge after the last one's end comes,
-- and what people are told of them. Each rule stands once, for a limit of any scope (money_limit):
-- a service carries its own limit, the others are rows of devart.budgets. Whether a window has
-- ended is asked where limits are locked (320_money_scopes.sql). Lock order of everything that
-- touches money: task, hold, what an agent holds (only where that is limited), budgets by id,
-- services by id, closed windows by id. Who needs a lock outside of this order takes it only if it
-- is free (skip locked). So nobody waits in a circle.

-- The window of the local calendar that contains p_at. Windows follow each other without gaps, also
-- where a day begins at a time that the clocks skip or have twice. Weeks begin on Monday.
create or replace function devart_private.budget_window(
    p_period devart.budget_period, p_time_zone text, p_at timestamptz,
    out window_start timestamptz, out window_end timestamptz
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

create or replace function devart_private.check_time_zone(p_time_zone text)
returns void language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from pg_timezone_names z where z.name = p_time_zone) then
        perform devart_private.refuse_argument(
            'time_zone', format('names no time zone: %s', left(p_time_zone, 100)));
    end if;
end
$$;

-- The limit that a service carries. (In PL/pgSQL, as all that is asked of limits, since that keeps
-- its plans: SQL that cannot become part of the query that calls it is planned at each call.)
create or replace function devart_private.limit_of(p_service devart.service_registry)
returns devart_private.money_limit language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    return row(
        p_service.id, 'service', p_service.id, p_service.budget_usd, p_service.period,
        p_service.time_zone, p_service.hard_limit, p_service.alert_thresholds, p_service.window_id,
        p_service.window_start, p_service.window_end, p_service.spent_usd, p_service.held_usd,
        p_service.alerted_percent, p_service.next_alert_usd, p_service.status, p_service.name,
        p_service.substitute_service_id
    )::devart_private.money_limit;
end
$$;

-- The limit of another scope.
create or replace function devart_private.limit_of(p_budget devart.budgets)
returns devart_private.money_limit language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    return row(
        p_budget.id, p_budget.scope, p_budget.scope_id, p_budget.budget_usd, p_budget.period,
        p_budget.time_zone, p_budget.hard_limit, p_budget.alert_thresholds, p_budget.window_id,
        p_budget.window_start, p_budget.window_end, p_budget.spent_usd, p_budget.held_usd,
        p_budget.alerted_percent, p_budget.next_alert_usd, null, null, null
    )::devart_private.money_limit;
end
$$;

-- Writes the open window of a limit, and the status that follows from it. The row is locked.
create or replace function devart_private.write_limit(p_limit devart_private.money_limit)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if p_limit.scope = 'service' then
        update devart.service_registry s
        set window_id = p_limit.window_id, window_start = p_limit.window_start,
            window_end = p_limit.window_end, spent_usd = p_limit.spent_usd,
            held_usd = p_limit.held_usd, alerted_percent = p_limit.alerted_percent,
            next_alert_usd = p_limit.next_alert_usd, status = p_limit.status
        where s.id = p_limit.id;
    else
        update devart.budgets b
        set window_id = p_limit.window_id, window_start = p_limit.window_start,
            window_end = p_limit.window_end, spent_usd = p_limit.spent_usd,
            held_usd = p_limit.held_usd, alerted_percent = p_limit.alerted_percent,
            next_alert_usd = p_limit.next_alert_usd
        where b.id = p_limit.id;
    end if;
end
$$;

-- Whether nothing may be spent any more.
create or replace function devart_private.is_exhausted(p_limit devart_private.money_limit)
returns boolean language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    return p_limit.hard_limit and coalesce(p_limit.spent_usd >= p_limit.budget_usd, false);
end
$$;

-- The spent_usd at which people must be told next: of a threshold that was not told of in this
-- window, or of the limit when reaching it suspends.
create or replace function devart_private.next_alert(p_limit devart_private.money_limit)
returns numeric language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    return least(
        (select min(p_limit.budget_usd * t / 100)
         from unnest(p_limit.alert_thresholds) t where t > p_limit.alerted_percent),
        case when p_limit.hard_limit and p_limit.status <> 'SUSPENDED' then p_limit.budget_usd end);
end
$$;

-- The highest threshold that was reached and not told of; null when there is none.
create or replace function devart_private.reached_threshold(p_limit devart_private.money_limit)
returns int language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select max(t) from unnest(p_limit.alert_thresholds) t
        where t > p_limit.alerted_percent and p_limit.spent_usd * 100 >= p_limit.budget_usd * t);
end
$$;

-- Tells people that spending crossed a threshold (p_percent) or suspended a service. One row for
-- both: what is crossed at once is told at once.
create or replace function devart_private.alert_limit(
    p_limit devart_private.money_limit, p_percent int, p_suspended boolean
)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.alert(
        case when p_suspended then 'service_suspended' else 'budget_threshold' end,
        p_limit.id::text,
        jsonb_build_object(
            'scope', p_limit.scope, 'scope_id', p_limit.scope_id, 'threshold_percent', p_percent,
            'spent_usd', p_limit.spent_usd, 'budget_usd', p_limit.budget_usd,
            'window_start', p_limit.window_start, 'window_end', p_limit.window_end
        ) || case p_limit.scope
            when 'service' then jsonb_build_object(
                'service_id', p_limit.id, 'service', p_limit.name,
                'substitute_service_id', p_limit.substitute_service_id,
                'substitute', (select s.name from devart.service_registry s
                               where s.id = p_limit.substitute_service_id))
            else jsonb_build_object('budget_id', p_limit.id)
        end)
$$;

-- What follows from spending up to next_alert_usd: the alert, and the suspension of a service at a
-- hard limit. (A budget of another scope refuses at its limit and suspends nobody.) The row is
-- locked.
create or replace function devart_private.limit_reached(p_limit devart_private.money_limit)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_percent int := devart_private.reached_threshold(p_limit);
    v_suspends boolean := coalesce(p_limit.status = 'ACTIVE', false)
        and devart_private.is_exhausted(p_limit);
begin
    if v_suspends then
        p_limit.status := 'SUSPENDED';
    end if;
    p_limit.alerted_percent := coalesce(v_percent, p_limit.alerted_percent);
    p_limit.next_alert_usd := devart_private.next_alert(p_limit);
    perform devart_private.write_limit(p_limit);
    if v_suspends or v_percent is not null then
        perform devart_private.alert_limit(p_limit, v_percent, v_suspends);
    end if;
end
$$;

-- What follows when less was spent than was thought: the suspension of a service ends when its
-- limit is not reached any more. What people were told of in this window they are not told of
-- again. The row is locked.
create or replace function devart_private.limit_relieved(p_limit devart_private.money_limit)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if p_limit.status = 'SUSPENDED' and not devart_private.is_exhausted(p_limit) then
        p_limit.status := 'ACTIVE';
        p_limit.next_alert_usd := devart_private.next_alert(p_limit);
        perform devart_private.write_limit(p_limit);
    end if;
end
$$;

-- The same by id, for late settlements (pg_devart/src/money/settle.rs).
create or replace function devart_private.service_relieved(p_service_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.limit_relieved(devart_private.limit_of(s))
    from devart.service_registry s where s.id = p_service_id;
end
$$;

-- What limit_reached does, by id, for charges (pg_devart/src/money/gate.rs).
create or replace function devart_private.service_reached(p_service_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.limit_reached(devart_private.limit_of(s))
    from devart.service_registry s where s.id = p_service_id;
end
$$;

-- The same by id, for charges (pg_devart/src/money/budgets.rs).
create or replace function devart_private.budget_reached(p_budget_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.limit_reached(devart_private.limit_of(b))
    from devart.budgets b where b.id = p_budget_id;
end
$$;

-- Puts the open window into the archive.
create or replace function devart_private.archive_window(p_limit devart_private.money_limit)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.budget_windows (
        id, scope, scope_id, budget_usd, spent_usd, held_usd, window_start, window_end
    ) values (
        p_limit.window_id, p_limit.scope, p_limit.id, p_limit.budget_usd, p_limit.spent_usd,
        p_limit.held_usd, p_limit.window_start, least(p_limit.window_end, clock_timestamp())
    )
$$;

-- The limit in a window of its own of this moment: nothing is spent, nothing was told.
create or replace function devart_private.in_new_window(p_limit devart_private.money_limit)
returns devart_private.money_limit language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    p_limit.window_id := devart.uuid_v7();
    p_limit.spent_usd := 0;
    p_limit.held_usd := 0;
    p_limit.alerted_percent := 0;
    return devart_private.with_window_of_now(p_limit);
end
$$;

create or replace function devart_private.with_window_of_now(p_limit devart_private.money_limit)
returns devart_private.money_limit language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    select w.window_start, w.window_end into p_limit.window_start, p_limit.window_end
    from devart_private.budget_window(p_limit.period, p_limit.time_zone, clock_timestamp()) w;
    return p_limit;
end
$$;

-- Opens the window of this moment, the last one having ended. It ends a suspension. The row is
-- locked.
create or replace function devart_private.open_window(p_limit devart_private.money_limit)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.archive_window(p_limit);
    p_limit := devart_private.in_new_window(p_limit);
    if p_limit.status = 'SUSPENDED' then
        p_limit.status := 'ACTIVE';
    end if;
    p_limit.next_alert_usd := devart_private.next_alert(p_limit);
    perform devart_private.write_limit(p_limit);
    perform devart_private.wake_waiting(p_limit.id);
end
$$;

-- Keeps window, alerts and status in step with what an admin or supervisor decides about a limit,
-- of a service or of a budget: another calendar begins a new window; enough money ends a
-- suspension, too little begins one.
create or replace function devart_private.limit_before_write()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_limit devart_private.money_limit := devart_private.limit_of(new);
    v_new_calendar boolean := tg_op = 'UPDATE'
        and (new.period, new.time_zone) is distinct from (old.period, old.time_zone);
    v_new_limit boolean := v_new_calendar or tg_op = 'UPDATE'
        and (new.budget_usd, new.hard_limit) is distinct from (old.budget_usd, old.hard_limit);
begin
    if tg_op = 'INSERT' or v_new_calendar then
        perform devart_private.check_time_zone(new.time_zone);
    end if;
    if tg_op = 'INSERT' then
        v_limit := devart_private.with_window_of_now(v_limit);
    elsif v_new_calendar then
        perform devart_private.archive_window(devart_private.limit_of(old));
        v_limit := devart_private.in_new_window(v_limit);
    end if;
    if v_new_limit and v_limit.status = 'SUSPENDED'
        and not devart_private.is_exhausted(v_limit) then
        v_limit.status := 'ACTIVE';
    elsif v_new_limit and v_limit.status = 'ACTIVE' and devart_private.is_exhausted(v_limit) then
        v_limit.status := 'SUSPENDED';
        perform devart_private.alert_limit(v_limit, null, true);
    end if;
    new.window_id := v_limit.window_id;
    new.window_start := v_limit.window_start;
    new.window_end := v_limit.window_end;
    new.spent_usd := v_limit.spent_usd;
    new.held_usd := v_limit.held_usd;
    new.alerted_percent := v_limit.alerted_percent;
    new.next_alert_usd := devart_private.next_alert(v_limit);
    if v_limit.scope = 'service' then
        new.status := v_limit.status;
    end if;
    return new;
end
$$;

-- By column: charges touch none of these.
create or replace trigger service_registry_budget
    before insert or update of budget_usd, hard_limit, alert_thresholds, period, time_zone
    on devart.service_registry
    for each row execute function devart_private.limit_before_write();
create or replace trigger budgets_before_write
    before insert or update of budget_usd, hard_limit, alert_thresholds, period, time_zone
    on devart.budgets
    for each row execute function devart_private.limit_before_write();

-- A budget that is deleted leaves its window behind: holds still settle into it, and the ledger
-- still adds up.
create or replace function devart_private.budgets_before_delete()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.archive_window(devart_private.limit_of(old));
    return old;
end
$$;

create or replace trigger budgets_before_delete before delete on devart.budgets
    for each row execute function devart_private.budgets_before_delete();

-- What stood here for each table.
drop function if exists
    devart_private.next_alert(numeric, int[], int, boolean),
    devart_private.reached_threshold(numeric, int[], int, numeric),
    devart_private.alert_service(devart.service_registry, int, boolean),
    devart_private.archive_window(devart.service_registry),
    devart_private.archive_window(devart.budgets),
    devart_private.open_service_window(uuid),
    devart_private.open_budget_window(uuid),
    devart_private.service_budget_before_write(),
    devart_private.budgets_before_write();
