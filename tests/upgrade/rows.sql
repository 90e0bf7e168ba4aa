-- What 0.1.0 could have: a task that waits for another, one whose payload nobody can read, and one
-- that asks for approval. Its functions want its library, so the rows are written without triggers.

set session_replication_role = replica;

insert into devart.tasks (id, title, priority, payload, lane_id, status)
values
    ('01900000-0000-7000-8000-000000000001', 'waits', 'LOW', '{"n": 1}', 1, 'TODO'),
    ('01900000-0000-7000-8000-000000000002', 'too deep', 'CRITICAL',
     (repeat('[', 200) || repeat(']', 200))::jsonb, 1, 'TODO'),
    ('01900000-0000-7000-8000-000000000003', 'depends', 'LOW', '{}', 1, 'BLOCKED'),
    ('01900000-0000-7000-8000-000000000004', 'asks', 'LOW', '{}', 1, 'AWAITING_APPROVAL');
insert into devart.task_dependencies (task_id, depends_on)
values ('01900000-0000-7000-8000-000000000003', '01900000-0000-7000-8000-000000000001');
insert into devart.approvals (subject, subject_id, digest)
values ('task', '01900000-0000-7000-8000-000000000004', sha256('asks'));

reset session_replication_role;
