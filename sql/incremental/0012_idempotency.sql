-- Answers kept for requests that carried an Idempotency-Key.

set local role devart_owner;

create table devart_private.idempotency (
    principal text not null,
    key text not null constraint idempotency_key_check check (char_length(key) between 1 and 200),
    request_hash bytea not null,
    -- Null while the request is under way.
    status int,
    body jsonb,
    created_at timestamptz not null default now(),
    primary key (principal, key)
);
create index idempotency_created_idx on devart_private.idempotency (created_at);
