-- What the database wants done outside: written in the transaction that decides it, delivered after.

set local role devart_owner;

create table devart_private.outbox (
    id bigint generated always as identity primary key,
    topic text not null,
    -- Rows of one topic and key are delivered in order.
    key text,
    payload jsonb not null,
    attempt int not null default 0,
    next_attempt_at timestamptz not null default now(),
    lease_token uuid,
    last_error text,
    created_at timestamptz not null default now()
) with (fillfactor = 70);
create index outbox_due_idx on devart_private.outbox (topic, next_attempt_at, id);
