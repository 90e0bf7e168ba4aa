-- Indexes for lists of tasks (240_task_lists.sql): one for each filter that a list can have.

set local role devart_owner;

-- Status, priority, both: newest first. The id as bytes, which sort as ids do: the planner takes
-- tasks to be spread evenly, would rather walk the primary key until it has met enough tasks that
-- fit, and meets two million finished ones first. What agents work on is a short list with an index
-- of its own, so that a task has one entry until it is claimed and one when it is finished.
create index tasks_list_idx on devart.tasks (status, priority, uuid_send(id))
    where status <> 'IN_PROGRESS';
drop index devart.tasks_attention_idx;

create index tasks_flagged_idx on devart.tasks (id) where is_flagged;

-- All that an agent had, not the finished ones only; those it has are in tasks_in_progress_idx.
create index tasks_agent_idx on devart.tasks (agent_id, id)
    where agent_id is not null and status <> 'IN_PROGRESS';
drop index devart.tasks_agent_history_idx;

-- What an agent created: children only.
create index tasks_children_idx on devart.tasks (created_by, id)
    where parent_task_id is not null and created_by is not null;
