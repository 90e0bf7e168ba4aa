-- Delivery of the outbox: leases, buried rows, and a login role for each bridge.

set local role devart_owner;

alter table devart_private.outbox
    add column lease_expires_at timestamptz,
    -- Given up: stays until an operator replays or purges it, and holds up nobody.
    add column buried_at timestamptz,
    add constraint outbox_lease_check check ((lease_token is null) = (lease_expires_at is null));

-- Each row lives for moments and is written twice: when it is leased, and when it is deleted. Half a page stays free, so
-- that leasing a whole page of rows needs no other page and no new index entries (HOT). No index has a column of the
-- lease, for the same reason. Vacuum comes by the number of dead rows, not by their share, and does not pause.
alter table devart_private.outbox set (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_cost_delay = 0
);

drop index devart_private.outbox_due_idx;
create index outbox_due_idx on devart_private.outbox (topic, next_attempt_at, id) where buried_at is null;
create index outbox_key_idx on devart_private.outbox (topic, key, id) where buried_at is null and key is not null;
create index outbox_buried_idx on devart_private.outbox (topic, id) where buried_at is not null;

reset role;

-- Makes the login role of a bridge, which may deliver the topics `<bridge>.<what>` and nothing else. It has no password
-- until an operator gives it one. A new bridge is one line in a new file: select devart_private.create_bridge('telegram').
create or replace function devart_private.create_bridge(p_bridge text)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    execute format('create role %I login noinherit', 'devart_bridge_' || p_bridge);
exception when duplicate_object or unique_violation then
    -- Roles belong to the whole cluster: another database of it has made it already.
    null;
end
$$;

select devart_private.create_bridge('rabbitmq');
