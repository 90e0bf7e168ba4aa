-- The enumerated types of design/data-model.md. Order matters: priorities compare in claim order.

set local role devart_owner;

create type devart.app_role as enum ('admin', 'supervisor', 'viewer');
create type devart.task_priority as enum ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW');
create type devart.task_status as enum (
    'BLOCKED', 'AWAITING_APPROVAL', 'SCHEDULED', 'TODO', 'IN_PROGRESS', 'DONE', 'FAILED', 'CANCELLED'
);
create type devart.service_state as enum ('ACTIVE', 'SUSPENDED', 'DISABLED');
create type devart.budget_period as enum ('none', 'day', 'week', 'month');
create type devart.charge_kind as enum ('hold', 'settle', 'release', 'overage', 'adjustment');
create type devart.agent_status as enum ('IDLE', 'BUSY', 'OFFLINE', 'DEACTIVATED');
create type devart.sandbox_status as enum (
    'REQUESTED', 'PROVISIONING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'FAILED', 'LOST'
);
create type devart.run_status as enum ('RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED');
create type devart.approval_status as enum ('PENDING', 'APPROVED', 'REJECTED', 'EXPIRED');
create type devart.approval_subject as enum ('task', 'budget', 'sandbox', 'publish');
create type devart.item_type as enum ('AGENT', 'WORKFLOW');

-- Domains carry the limits on a task's columns. Check constraints would be parsed and evaluated
-- again at each update of the row, twice in the life of every task; a domain is checked only where a
-- value enters. Named after the column, so that an error names it.
create domain devart.task_title as text
    constraint tasks_title_check check (char_length(value) between 1 and 500);
create domain devart.task_description as text
    constraint tasks_description_check check (octet_length(value) <= 65536);
create domain devart.task_max_retries as int
    constraint tasks_max_retries_check check (value between 0 and 100);
create domain devart.task_cost as numeric(18, 6)
    constraint tasks_estimated_cost_usd_check check (value >= 0);
create domain devart.task_idempotency_key as text
    constraint tasks_idempotency_key_check check (char_length(value) between 1 and 200);
create domain devart.task_capabilities as text[]
    constraint tasks_required_capabilities_check
    check (cardinality(value) <= 20 and array_position(value, null) is null);
