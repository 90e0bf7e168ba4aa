-- What JSON may be wherever it enters: short as text, and readable by everybody
-- (docs/decisions/readable-json.md). One function decides, devart_private.check_json, and names
-- what is wrong; these domains carry it to every door.
--
-- Rows that are there already stay: the constraints are "not valid", so they look at what comes.
-- Readers are told of old ones (devart.readable_json), and claims set their tasks aside.

set local role devart_owner;

-- Without constraints at first: so no row is read or rewritten.
create domain devart.task_payload as jsonb;
create domain devart.task_result as jsonb;
create domain devart.agent_detail as jsonb;
create domain devart.setting_value as jsonb;
create domain devart.approval_detail as jsonb;
create domain devart_private.outbox_payload as jsonb;

-- The domain measures a new payload from now on.
drop trigger if exists tasks_before_payload_update on devart.tasks;

alter table devart.tasks
    alter column payload type devart.task_payload,
    alter column result type devart.task_result;
alter table devart.agents alter column detail type devart.agent_detail;
alter table devart.system_settings alter column value type devart.setting_value;
alter table devart.approvals alter column detail type devart.approval_detail;
alter table devart_private.outbox alter column payload type devart_private.outbox_payload;

alter domain devart.task_payload add constraint tasks_payload_check
    check (devart_private.check_json(value, 'payload', 262144)) not valid;
alter domain devart.task_result add constraint tasks_result_check
    check (devart_private.check_json(value, 'result', 262144)) not valid;
alter domain devart.agent_detail add constraint agents_detail_check
    check (devart_private.check_json(value, 'detail', 16384)) not valid;
alter domain devart.setting_value add constraint system_settings_value_check
    check (devart_private.check_json(value, 'value', 16384)) not valid;
alter domain devart.approval_detail add constraint approvals_detail_check
    check (devart_private.check_json(value, 'detail', 65536)) not valid;
alter domain devart_private.outbox_payload add constraint outbox_payload_check
    check (devart_private.check_json(value, 'payload', 1048576)) not valid;
