-- What 0.1.0 could have: a task that waits for another, one whose payload nobody can read, one that
-- asks for approval, and costs and times that no later version takes. Its functions want its library, so the rows are written without triggers.

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


insert into devart.tasks (id, title, priority, lane_id, status, estimated_cost_usd, run_at)
values
    ('01900000-0000-7000-8000-000000000005', 'no number', 'CRITICAL', 1, 'TODO', 'NaN', null),
    ('01900000-0000-7000-8000-000000000006', 'endless', 'LOW', 1, 'SCHEDULED', null, 'infinity'),
    ('01900000-0000-7000-8000-000000000007', 'nobodys', 'LOW', 1, 'IN_PROGRESS', null, null),
    ('01900000-0000-7000-8000-000000000008', 'stuck', 'LOW', 1, 'BLOCKED', null, null);
update devart.tasks set ready_at = now() - interval '1 hour';
update devart.approvals set expires_at = 'infinity';
insert into devart.agents (id, name) values ('01900000-0000-7000-8000-00000000000a', 'old');
insert into devart_private.agent_api_keys (key_id, agent_id, key_sha256, expires_at)
values
    ('later', '01900000-0000-7000-8000-00000000000a', sha256('a'), 'infinity'),
    ('over', '01900000-0000-7000-8000-00000000000a', sha256('b'), '0001-01-01 BC');
insert into devart.service_registry (id, name)
values ('01900000-0000-7000-8000-00000000000b', 'model');
insert into devart.service_prices (service_id, unit, usd_per_unit, effective_from, effective_to)
values
    ('01900000-0000-7000-8000-00000000000b', 'token', 1, '-infinity', '1900-01-01'),
    ('01900000-0000-7000-8000-00000000000b', 'token', 2, '1900-01-01', null),
    ('01900000-0000-7000-8000-00000000000b', 'request', 3, '20000-01-01', null);

reset session_replication_role;
