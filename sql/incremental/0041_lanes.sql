-- Lanes come and go: who made one, and when somebody last needed it.

set local role devart_owner;

alter table devart_private.lanes
    -- The person or agent; null for operators.
    add column created_by uuid,
    -- As of the last look of maintain().
    add column used_at timestamptz not null default now();
create index lanes_created_by_idx on devart_private.lanes (created_by)
    where created_by is not null;
