-- Looks a child up by the key that its parent's worker gave it (230_task_functions.sql).

set local role devart_owner;

create index tasks_child_key_idx on devart.tasks (parent_task_id, idempotency_key)
    where parent_task_id is not null and idempotency_key is not null;
