-- No task stays in a state for ever, and nobody approves what they wrote themselves: who edited,
-- which rows periodic work puts off, what waits for nothing, and a lease for all in progress.

set local role devart_owner;

-- People and agents who changed the content of a task (430_approval_task.sql).
create table devart_private.task_editors (
    task_id uuid not null,
    editor uuid not null,
    primary key (task_id, editor)
);

-- Rows that met an error in periodic work, and why (785_row_by_row.sql).
create table devart_private.put_off_rows (
    step text not null,
    row_id uuid not null,
    failures int not null default 1
        constraint put_off_rows_failures_check check (failures between 1 and 1000000000),
    sqlstate text not null,
    reason text not null,
    failed_at timestamptz not null default now(),
    retry_at timestamptz not null,
    primary key (step, row_id)
);

-- Tasks that wait for others, and for none that is open.
create index tasks_stuck_idx on devart.tasks (ready_at)
    where status = 'BLOCKED' and open_dependencies = 0;

-- A task in progress without a lease that ends would never come back to anybody: one that is so
-- comes back now. "Not valid", so that nothing is read again.
update devart.tasks t
set lease_token = coalesce(t.lease_token, gen_random_uuid()), lease_expires_at = now()
where t.status = 'IN_PROGRESS'
  and (t.lease_token is null or t.lease_expires_at is null or not isfinite(t.lease_expires_at));
alter table devart.tasks add constraint tasks_lease_check check (
    status <> 'IN_PROGRESS'
    or lease_token is not null and lease_expires_at is not null and isfinite(lease_expires_at)
) not valid;
