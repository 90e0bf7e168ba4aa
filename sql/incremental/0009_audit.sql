-- Who managed what: agents, services, settings and roles, with the row before and after.

set local role devart_owner;

create table devart.audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    action text not null,
    table_name text not null,
    row_id text not null,
    before jsonb,
    after jsonb
);
create index audit_log_row_idx on devart.audit_log (table_name, row_id);
