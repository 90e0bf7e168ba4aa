-- The role for operators beside the owner and service_role, and when periodic work last succeeded.

do $$
begin
    create role devart_operator nologin;
exception when duplicate_object or unique_violation then
    -- Roles belong to the whole cluster: another database of it has made it already.
    null;
end
$$;

set local role devart_owner;

create table devart_private.maintenance (
    only_row boolean primary key default true
        constraint maintenance_only_row_check check (only_row),
    succeeded_at timestamptz not null
);
comment on table devart_private.maintenance is
    'When maintain() last did all of its work, give or take five seconds. One row.';
insert into devart_private.maintenance (succeeded_at) values (now());

-- Of a person, what they might do when the answer was kept: who may do less now does not get it.
alter table devart_private.idempotency add column app_role devart.app_role;

-- Keys of charges are forgotten in the order in which they came. A BRIN index costs an insert
-- next to nothing.
create index charge_keys_created_idx on devart_private.charge_keys using brin (created_at);
