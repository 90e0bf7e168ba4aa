-- What waits for a human, and who said what.

set local role devart_owner;

create table devart.approvals (
    id uuid primary key default devart.uuid_v7(),
    subject devart.approval_subject not null,
    subject_id uuid not null,
    -- SHA-256 of the exact action: what was approved is what happens.
    digest bytea not null,
    quorum int not null default 1 constraint approvals_quorum_check check (quorum between 1 and 20),
    status devart.approval_status not null default 'PENDING',
    requested_by uuid,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    decided_at timestamptz
);
create unique index approvals_pending_key on devart.approvals (subject, subject_id) where status = 'PENDING';
create index approvals_subject_idx on devart.approvals (subject_id);

create table devart.approval_votes (
    approval_id uuid not null constraint approval_votes_approval_id_fkey references devart.approvals (id) on delete cascade,
    voter uuid not null,
    approve boolean not null,
    comment text constraint approval_votes_comment_check check (char_length(comment) <= 2000),
    at timestamptz not null default now(),
    primary key (approval_id, voter)
);
