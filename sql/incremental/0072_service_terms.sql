-- Services that are put off until their provider serves again, and the tasks that wait for that;
-- prices that are dearer for large calls; and what calls cost lately.

set local role devart_owner;

alter table devart.service_registry
    -- Over when it is past.
    add column deferred_until timestamptz
        constraint service_registry_deferred_until_check check (
            deferred_until >= '1970-01-01 00:00+00' and deferred_until < '3000-01-01 00:00+00'),
    add column deferred_reason text
        constraint service_registry_deferred_reason_check
            check (char_length(deferred_reason) between 1 and 1000);
create index service_registry_deferred_idx on devart.service_registry (deferred_until)
    where deferred_until is not null;

-- Tasks in their queues that a deferral takes out of them.
create index tasks_waiting_service_idx on devart.tasks (service_id)
    where status = 'TODO' and service_id is not null;

-- The moments to come until which tasks of a service were put off; has_ended: they come back now.
create table devart_private.deferral_times (
    service_id uuid not null,
    held_until timestamptz not null,
    has_ended boolean not null default false,
    primary key (service_id, held_until)
);
create index deferral_times_ended_idx on devart_private.deferral_times (service_id)
    where has_ended;

-- What one of a unit costs in a call that uses more than so many of it: a long context.
alter table devart.service_prices
    add column above_units numeric(24, 6)
        constraint service_prices_above_units_check check (above_units >= 0 and above_units < 1e15),
    add column usd_per_unit_above numeric(24, 12)
        constraint service_prices_usd_per_unit_above_check
            check (usd_per_unit_above >= usd_per_unit and usd_per_unit_above < 1e12),
    add constraint service_prices_threshold_check
        check ((above_units is null) = (usd_per_unit_above is null));

-- At least so much is held for a call whose cost nobody estimated.
alter table devart.service_registry
    add column estimate_floor_usd numeric(28, 6)
        constraint service_registry_estimate_floor_usd_check
            check (estimate_floor_usd >= 0 and estimate_floor_usd < 1e12);

-- What calls of a service cost lately, by the kind of their task; '': all of them.
create table devart_private.cost_estimates (
    service_id uuid not null,
    kind text not null,
    p95_usd numeric(28, 6) not null,
    calls int not null
        constraint cost_estimates_calls_check check (calls between 0 and 1000000000),
    primary key (service_id, kind)
);

-- When that was last reckoned.
create table devart_private.estimate_runs (
    service_id uuid primary key,
    reckoned_at timestamptz not null default now()
);
