-- What a unit of a service costs, and from when to when.

set local role devart_owner;

create table devart.service_prices (
    id uuid primary key default devart.uuid_v7(),
    service_id uuid not null constraint service_prices_service_id_fkey references devart.service_registry (id),
    unit text not null constraint service_prices_unit_check check (unit ~ '^[a-z][a-z0-9_]{0,63}$'),
    -- Twelve decimals: a token may cost a ten-millionth of a dollar.
    usd_per_unit numeric(24, 12) not null constraint service_prices_usd_per_unit_check check (usd_per_unit >= 0),
    effective_from timestamptz not null default now(),
    -- Null: until further notice.
    effective_to timestamptz constraint service_prices_effective_to_check check (effective_to > effective_from),
    created_by uuid,
    created_at timestamptz not null default now(),
    constraint service_prices_unit_key unique (service_id, unit, effective_from)
);
comment on table devart.service_prices is 'Append-only: a new price ends the one before it.';
