-- Stops: what people keep from beginning, until they resume it.

set local role devart_owner;

create type devart.stop_scope as enum ('all', 'agent', 'service', 'run', 'task');

create table devart.stops (
    id uuid primary key default devart.uuid_v7(),
    scope devart.stop_scope not null,
    -- Of the agent, service, run or task. No foreign key: a pause ends when people say so.
    scope_id uuid,
    reason text constraint stops_reason_check check (char_length(reason) between 1 and 1000),
    -- agent:<uuid>, user:<uuid> or role:<name>, as in the audit log.
    stopped_by text not null,
    stopped_at timestamptz not null default now(),
    constraint stops_scope_id_check check ((scope = 'all') = (scope_id is null))
);
comment on table devart.stops is
    'A row for each stop and pause in force. Changed by its functions only: emergency_stop, pause.';
create unique index stops_scope_idx
    on devart.stops (scope, coalesce(scope_id, '00000000-0000-0000-0000-000000000000'));
