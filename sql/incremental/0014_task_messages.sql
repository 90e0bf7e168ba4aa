-- What a task carries so that it can travel as a message: the trace that it belongs to.

set local role devart_owner;

-- W3C Trace Context: version, trace id, parent id, flags; neither version ff nor ids of zeros only.
create domain devart.task_traceparent as text
    constraint tasks_traceparent_check check (
        value ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
        and value !~ '^(ff|.{2}-0{32}|.{35}-0{16})-'
    );

alter table devart.tasks add column traceparent devart.task_traceparent;

-- It gets one more argument (060_task_functions.sql), and there must not be two of that name.
drop function if exists devart.create_task(
    text, text, devart.task_priority, jsonb, uuid, uuid, text[], timestamptz, int, numeric, uuid[], boolean, text
);
