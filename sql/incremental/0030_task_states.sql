-- What decides whether a task may run: the approval that it needs, what it waits for, and for how
-- long it may run.

set local role devart_owner;

-- Its constraint comes after the column: a new column of a domain with one rewrites the table.
create domain devart.task_timeout as int;

alter table devart.tasks
    add column needs_approval boolean not null default false,
    add column open_dependencies int not null default 0,
    add column timeout_seconds devart.task_timeout,
    add column request_digest bytea;
alter domain devart.task_timeout add constraint tasks_timeout_seconds_check
    check (value between 1 and 2592000) not valid;
comment on column devart.tasks.needs_approval is
    'It runs only with the votes of people on its content as it is.';
comment on column devart.tasks.open_dependencies is
    'How many of those that it depends on are not DONE.';
comment on column devart.tasks.timeout_seconds is
    'How long an attempt may run, whatever its heartbeats say.';
comment on column devart.tasks.request_digest is
    'Of a task with an idempotency_key: what was asked for under it.';

update devart.tasks t set needs_approval = true
where exists (select from devart.approvals a where a.subject = 'task' and a.subject_id = t.id);

update devart.tasks t set open_dependencies = o.tasks
from (
    select d.task_id, count(*)::int as tasks
    from devart.task_dependencies d join devart.tasks p on p.id = d.depends_on
    where p.status <> 'DONE'
    group by d.task_id
) o
where t.id = o.task_id;

-- A task can be deleted whatever depends on it; what waits for it ends (220_dependencies.sql).
alter table devart.task_dependencies
    drop constraint task_dependencies_depends_on_fkey,
    add constraint task_dependencies_depends_on_fkey
        foreign key (depends_on) references devart.tasks (id) on delete cascade;

-- Whoever adds a dependency that could close a circle changes this row, one at a time.
create table devart_private.dependency_order (
    only_row boolean primary key default true
        constraint dependency_order_only_row_check check (only_row),
    changes bigint not null default 0
);
insert into devart_private.dependency_order default values;

alter table devart.approvals
    add column voided_at timestamptz,
    add column last_vote_at timestamptz;
comment on column devart.approvals.voided_at is
    'Since when what was approved counts no more: the subject was changed or is to run again.';
comment on column devart.approvals.last_vote_at is
    'Written by each vote, so that of two at once one sees the other.';
