-- Budget windows: the open one of a service in its own row, of other scopes in theirs, closed ones in an archive.

set local role devart_owner;

alter table devart.service_registry
    add column window_id uuid not null default devart.uuid_v7(),
    add column window_start timestamptz not null default now(),
    -- Whoever charges after this moment opens the next window first.
    add column window_end timestamptz not null default 'infinity',
    -- The highest threshold that was told of in the open window: each is told once.
    add column alerted_percent int not null default 0,
    -- The spent_usd at which people must be told next, of a threshold or of the limit; null: nothing to
    -- tell. So the hot path compares two numbers instead of going through thresholds.
    add column next_alert_usd numeric;
alter table devart.service_registry
    add constraint service_registry_alert_thresholds_check
    check (cardinality(alert_thresholds) <= 20 and 0 < all (alert_thresholds) and 1000 >= all (alert_thresholds));
comment on column devart.service_registry.spent_usd is 'Spent in the open window.';
comment on column devart.service_registry.held_usd is 'Held by reservations that the open window admitted.';

-- A service's row is updated by each charge: room for its next versions on the same page.
alter table devart.service_registry set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create type devart.budget_scope as enum ('service', 'agent', 'task', 'run', 'user');

-- A further limit, beside the service's own: on an agent, a task, a workflow run or a person. Those on
-- tasks, runs and people count what descendants of the task spend, too.
create table devart.budgets (
    id uuid primary key default devart.uuid_v7(),
    scope devart.budget_scope not null constraint budgets_scope_check check (scope <> 'service'),
    scope_id uuid not null,
    budget_usd numeric(18, 6) not null constraint budgets_budget_usd_check check (budget_usd >= 0),
    period devart.budget_period not null default 'none',
    time_zone text not null default 'UTC',
    -- A soft limit alerts; a hard limit refuses.
    hard_limit boolean not null default true,
    alert_thresholds int[] not null default '{50,80,100}' constraint budgets_alert_thresholds_check
        check (cardinality(alert_thresholds) <= 20 and 0 < all (alert_thresholds) and 1000 >= all (alert_thresholds)),
    spent_usd numeric(18, 6) not null default 0 constraint budgets_spent_usd_check check (spent_usd >= 0),
    held_usd numeric(18, 6) not null default 0 constraint budgets_held_usd_check check (held_usd >= 0),
    window_id uuid not null default devart.uuid_v7(),
    window_start timestamptz not null default now(),
    window_end timestamptz not null default 'infinity',
    alerted_percent int not null default 0,
    next_alert_usd numeric,
    created_at timestamptz not null default now(),
    constraint budgets_scope_id_key unique (scope, scope_id)
) with (fillfactor = 50);
comment on table devart.budgets is 'Limits by scope. Counts what is charged from its creation on.';

-- Closed windows. A hold settles into the window that admitted it, so these rows still change.
create table devart.budget_windows (
    -- The window_id that the open window had.
    id uuid primary key,
    scope devart.budget_scope not null,
    -- Of a service its id, else the id of the budgets row.
    scope_id uuid not null,
    budget_usd numeric(18, 6),
    spent_usd numeric(18, 6) not null constraint budget_windows_spent_usd_check check (spent_usd >= 0),
    held_usd numeric(18, 6) not null constraint budget_windows_held_usd_check check (held_usd >= 0),
    window_start timestamptz not null,
    window_end timestamptz not null,
    closed_at timestamptz not null default clock_timestamp()
);
create index budget_windows_scope_idx on devart.budget_windows (scope_id, window_start);

-- Services that exist already: what they have spent counts for the window of this moment.
update devart.service_registry s
set window_start = case s.period when 'none' then s.created_at
        else date_trunc(s.period::text, now() at time zone s.time_zone) at time zone s.time_zone end,
    window_end = case s.period when 'none' then 'infinity'
        else (date_trunc(s.period::text, now() at time zone s.time_zone) + ('1 ' || s.period)::interval) at time zone s.time_zone end,
    alerted_percent = coalesce((select max(t) from unnest(s.alert_thresholds) t where s.spent_usd * 100 >= s.budget_usd * t), 0),
    next_alert_usd = least(
        (select min(s.budget_usd * t / 100) from unnest(s.alert_thresholds) t where s.spent_usd * 100 < s.budget_usd * t),
        case when s.hard_limit and s.status = 'ACTIVE' then s.budget_usd end);
