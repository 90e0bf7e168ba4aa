-- Services that cost money, and the ledger of what was spent on them.

set local role devart_owner;

create table devart.service_registry (
    id uuid primary key default devart.uuid_v7(),
    name text not null
        constraint service_registry_name_key unique
        constraint service_registry_name_check check (char_length(name) between 1 and 200),
    description text constraint service_registry_description_check check (octet_length(description) <= 65536),
    status devart.service_state not null default 'ACTIVE',
    -- Null: no limit.
    budget_usd numeric(18, 6) constraint service_registry_budget_usd_check check (budget_usd >= 0),
    period devart.budget_period not null default 'none',
    time_zone text not null default 'UTC',
    spent_usd numeric(18, 6) not null default 0 constraint service_registry_spent_usd_check check (spent_usd >= 0),
    held_usd numeric(18, 6) not null default 0 constraint service_registry_held_usd_check check (held_usd >= 0),
    substitute_service_id uuid
        constraint service_registry_substitute_service_id_fkey references devart.service_registry (id)
        constraint service_registry_substitute_service_id_check check (substitute_service_id <> id),
    -- Percentages of the budget at which an alert goes out.
    alert_thresholds int[] not null default '{50,80,100}',
    -- A soft limit alerts; a hard limit refuses and suspends.
    hard_limit boolean not null default true,
    created_at timestamptz not null default now()
);
create index service_registry_substitute_idx on devart.service_registry (substitute_service_id)
    where substitute_service_id is not null;

create table devart.charges (
    id uuid primary key default devart.uuid_v7(),
    service_id uuid not null constraint charges_service_id_fkey references devart.service_registry (id),
    -- Not foreign keys: the ledger outlives the tasks and agents it names.
    task_id uuid,
    agent_id uuid,
    attempt int,
    amount_usd numeric(18, 6) not null,
    usage jsonb,
    kind devart.charge_kind not null,
    idempotency_key text,
    -- What the caller asked for when a substitute was billed.
    delegated_from uuid,
    created_at timestamptz not null default now()
);
comment on table devart.charges is 'Append-only ledger of money.';
create index charges_service_idx on devart.charges (service_id, created_at);
create index charges_task_idx on devart.charges (task_id) where task_id is not null;
create unique index charges_idempotency_key_key on devart.charges (idempotency_key) where idempotency_key is not null;
