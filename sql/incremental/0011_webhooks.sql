-- Deliveries that came in from outside. A delivery and the task it makes are one transaction.

set local role devart_owner;

create table devart_private.webhook_deliveries (
    source text not null,
    delivery_id text not null,
    event text not null,
    -- What the delivery is about (repository, pull request, head SHA, action): GitHub's delivery id
    -- is outside the signed body, so a replay under a new id must be recognised by content.
    subject text,
    status text not null,
    task_id uuid,
    received_at timestamptz not null default now(),
    primary key (source, delivery_id)
);
create unique index webhook_deliveries_subject_key on devart_private.webhook_deliveries (source, subject)
    where subject is not null and status = 'accepted';
