-- Lanes that are no more, until the bridge to RabbitMQ has deleted their queues.

set local role devart_owner;

create table devart_private.retired_lanes (
    routing_key text primary key,
    retired_at timestamptz not null default now()
);
