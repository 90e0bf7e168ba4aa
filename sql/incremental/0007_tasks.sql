-- Tasks, what they wait for, and what happened to them.

set local role devart_owner;

-- A lane holds the tasks that require the same set of capabilities. An agent looks only into lanes
-- that it can serve, so the cost of a claim does not grow with work for others.
create table devart_private.lanes (
    id int generated always as identity primary key,
    required_capabilities text[] not null constraint lanes_required_capabilities_key unique
);
insert into devart_private.lanes (required_capabilities) values ('{}');

create table devart.tasks (
    id uuid primary key default devart.uuid_v7(),
    title devart.task_title not null,
    description devart.task_description,
    priority devart.task_priority not null,
    status devart.task_status not null,
    parent_task_id uuid constraint tasks_parent_task_id_fkey references devart.tasks (id) on delete set null,
    workflow_run_id uuid,
    template_id uuid,
    service_id uuid constraint tasks_service_id_fkey references devart.service_registry (id),
    -- Not a foreign key: each claim would lock the agent's row, and agents are deactivated, never deleted.
    agent_id uuid,
    required_capabilities devart.task_capabilities not null default '{}',
    payload jsonb not null default '{}',
    result jsonb,
    attempt int not null default 0,
    retry_count int not null default 0,
    max_retries devart.task_max_retries not null default 3,
    last_error text,
    run_at timestamptz,
    lease_token uuid,
    lease_expires_at timestamptz,
    estimated_cost_usd devart.task_cost,
    is_flagged boolean not null default false,
    idempotency_key devart.task_idempotency_key,
    created_by uuid,
    created_at timestamptz not null default now(),
    claimed_at timestamptz,
    finished_at timestamptz,
    -- Internal: where the task queues, and since when. Clock time, not transaction time, so that
    -- the rows of one bulk insert have different places in the queue.
    lane_id int not null default 1,
    ready_at timestamptz not null default clock_timestamp(),
    -- How often a lease expired; bounds what a task that kills its workers can do.
    rescue_count int not null default 0
) with (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.05
);
comment on column devart.tasks.ready_at is 'When the task last became TODO: its place in the queue, and the start of its waiting time.';

-- Every index that is not partial costs twice per task, since no status change can be a HOT update.
create index tasks_claim_idx on devart.tasks (lane_id, priority, ready_at) where status = 'TODO';
create index tasks_due_idx on devart.tasks (run_at) where status = 'SCHEDULED';
create index tasks_in_progress_idx on devart.tasks (agent_id, lease_expires_at) where status = 'IN_PROGRESS';
create index tasks_agent_history_idx on devart.tasks (agent_id, id)
    where agent_id is not null and status in ('DONE', 'FAILED', 'CANCELLED');
create index tasks_attention_idx on devart.tasks (status, id)
    where status in ('BLOCKED', 'AWAITING_APPROVAL', 'FAILED', 'CANCELLED');
create index tasks_parent_idx on devart.tasks (parent_task_id, id) where parent_task_id is not null;
create index tasks_service_idx on devart.tasks (service_id, id) where service_id is not null;
create index tasks_run_idx on devart.tasks (workflow_run_id, id) where workflow_run_id is not null;
create unique index tasks_idempotency_key_key
    on devart.tasks (coalesce(created_by, '00000000-0000-0000-0000-000000000000'), idempotency_key)
    where idempotency_key is not null;

create table devart.task_dependencies (
    task_id uuid not null constraint task_dependencies_task_id_fkey references devart.tasks (id) on delete cascade,
    depends_on uuid not null constraint task_dependencies_depends_on_fkey references devart.tasks (id),
    primary key (task_id, depends_on),
    constraint task_dependencies_depends_on_check check (task_id <> depends_on)
);
create index task_dependencies_depends_on_idx on devart.task_dependencies (depends_on);

-- No foreign key to tasks: history outlives the task it tells of, and an append costs one index.
create table devart.task_events (
    task_id uuid not null,
    id bigint generated always as identity,
    from_status devart.task_status,
    to_status devart.task_status not null,
    -- agent:<uuid>, user:<uuid> or role:<name>.
    actor text not null,
    agent_id uuid,
    attempt int not null,
    at timestamptz not null default clock_timestamp(),
    detail jsonb,
    primary key (task_id, id)
);
comment on table devart.task_events is 'Append-only history: one row for each change of a task''s status.';
