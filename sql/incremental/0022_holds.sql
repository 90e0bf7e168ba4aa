-- Holds: money set aside before a call whose cost is only estimated. And what the ledger needs for them.

set local role devart_owner;

create type devart.hold_status as enum ('HELD', 'SETTLED', 'RELEASED', 'EXPIRED');

create table devart.holds (
    -- The id of the ledger's row of kind hold.
    id uuid primary key default devart.uuid_v7(),
    service_id uuid not null,
    -- The windows that admitted it, and into which it settles: the service's, and of each budget.
    window_id uuid not null,
    budget_ids uuid[] not null default '{}',
    budget_window_ids uuid[] not null default '{}',
    amount_usd numeric(18, 6) not null constraint holds_amount_usd_check check (amount_usd >= 0),
    status devart.hold_status not null default 'HELD',
    -- Not foreign keys, as in charges.
    task_id uuid,
    agent_id uuid,
    attempt int,
    -- Made by a claim: expires only after the task has left its worker.
    follows_lease boolean not null default false,
    usage jsonb,
    -- The service's prices when it was made: unit to US dollars.
    prices jsonb,
    delegated_from uuid,
    expires_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz,
    -- What settle_charge was asked and what it answered, to answer a repeated call the same.
    settlement jsonb
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table devart.holds is 'Reservations of money and what became of them.';
create index holds_expiry_idx on devart.holds (expires_at) where status = 'HELD';
create index holds_task_idx on devart.holds (task_id) where status = 'HELD' and task_id is not null;
create index holds_service_idx on devart.holds (service_id) where status = 'HELD';

alter table devart.charges
    add column window_id uuid,
    add column budget_window_ids uuid[],
    add column hold_id uuid;
update devart.charges c set window_id = s.window_id from devart.service_registry s where s.id = c.service_id;
alter table devart.charges alter column window_id set not null;
comment on table devart.charges is
    'Append-only ledger. Spent is the sum of settle, overage and adjustment; held is hold minus release minus those settle rows that have a hold.';
comment on column devart.charges.kind is
    'hold: set aside. settle: spent, out of the hold when there is one. release: given back. overage: spent beyond what was still held. adjustment: a correction of what was spent.';
create index charges_hold_idx on devart.charges (hold_id) where hold_id is not null;

-- One request per caller and key, with its answer. The keys of 0005 were unique among all callers.
create table devart_private.charge_keys (
    -- The calling agent; zeros for operators.
    principal uuid not null,
    key text not null constraint charge_keys_idempotency_key_check check (char_length(key) between 1 and 200),
    request jsonb not null,
    answer jsonb,
    created_at timestamptz not null default now(),
    primary key (principal, key)
);
drop index devart.charges_idempotency_key_key;
