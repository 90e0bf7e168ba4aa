-- A limit on money, in one shape: that of a service and that of a budget of another scope.

set local role devart_owner;

-- The columns that both tables have. Rules of limits are written once, for this type
-- (310_money_windows.sql).
create type devart_private.money_limit as (
    -- Of the row: of devart.service_registry for scope service, else of devart.budgets.
    id uuid,
    scope devart.budget_scope,
    -- Whom it limits: the service itself, or the budget's agent, task, run or person.
    scope_id uuid,
    -- Null: no limit.
    budget_usd numeric,
    period devart.budget_period,
    time_zone text,
    hard_limit boolean,
    alert_thresholds int[],
    -- The open window.
    window_id uuid,
    window_start timestamptz,
    window_end timestamptz,
    spent_usd numeric,
    held_usd numeric,
    alerted_percent int,
    next_alert_usd numeric,
    -- Of services only: null means that reaching the limit suspends nobody.
    status devart.service_state,
    name text,
    substitute_service_id uuid
);
