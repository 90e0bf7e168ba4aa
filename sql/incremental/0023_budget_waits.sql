-- Tasks that wait for money, and what people are asked about them.

set local role devart_owner;

create table devart_private.budget_waits (
    task_id uuid primary key,
    -- The service or the budgets row that refused.
    scope_id uuid not null,
    -- The service that was asked for.
    service_id uuid not null,
    needed_usd numeric(18, 6) not null,
    agent_id uuid,
    waiting_since timestamptz not null default clock_timestamp()
);
create index budget_waits_scope_idx on devart_private.budget_waits (scope_id, waiting_since);

alter table devart.approvals add column detail jsonb;
comment on column devart.approvals.detail is 'What is asked, for people: of a budget the service, the amount and the reason.';

-- What a vote on a budget wants billed instead.
alter table devart.approval_votes add column substitute_service_id uuid
    constraint approval_votes_substitute_service_id_fkey references devart.service_registry (id);
create index approval_votes_substitute_idx on devart.approval_votes (substitute_service_id)
    where substitute_service_id is not null;
