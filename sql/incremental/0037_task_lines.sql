-- From whom a task descends, so that a charge asks the budgets of all of them without going up from
-- parent to parent.

set local role devart_owner;

-- One row for each task that has a parent, written when the task is made and never changed. A line
-- of more than 256 tasks goes on in the row of one of them, so that a row stays small.
create table devart_private.task_lines (
    task_id uuid primary key,
    -- The ancestor whose row tells the ancestors above those told here; null: there are none.
    continues_at uuid,
    -- The nearest ancestors, the parent last.
    task_ids uuid[] not null,
    -- The runs and the creators of these ancestors, each once.
    run_ids uuid[] not null,
    creator_ids uuid[] not null
);
comment on table devart_private.task_lines is
    'Ancestors of tasks. No foreign keys: a line outlives the tasks it tells of.';
create index task_lines_continues_idx on devart_private.task_lines (continues_at)
    where continues_at is not null;
