//! Calls of everything that acts with the owner's rights, in an order in which each finds what it needs.

/// Who calls, and what. Roles; `second` is another person than `authenticated`. `{service}`,
/// `{substitute}`, `{agent}`: of the world that the test makes; `{message}`: the task "by message".
pub const CALLS: &[(&str, &str)] = &[
    // settings, so that there are messages about tasks
    ("authenticated", "select devart.set_setting('outbox_topics', '[\"rabbitmq.task\", \"telegram.alert\"]')"),
    ("authenticated", "select devart.get_my_role(), devart.is_supervisor()"),
    ("service_role", "select devart_private.setting('lease_seconds')"),
    ("service_role", "select devart_private.setting_number('lease_seconds')"),
    ("devart_owner", "update devart_private.setting_defaults set value = value"),
    // accounts
    ("service_role", "select devart_private.put_user('new@example.org', null, 'viewer')"),
    ("service_role", "select devart_private.bootstrap_admin('admin@example.org', null)"),
    ("authenticator", "select devart_private.authenticate_password_hash('new@example.org')"),
    // tasks
    ("authenticated", "insert into devart.tasks (title) values ('by insert')"),
    ("authenticated", "insert into devart.tasks (title, required_capabilities, parent_task_id)
        select 'child by insert', '{sql,rust}', id from devart.tasks limit 1"),
    ("authenticated", "select devart.create_task('open')"),
    ("authenticated", "select devart.create_task('dependent', depends_on => array(
        select id from devart.tasks where title = 'open'))"),
    ("authenticated", "select devart.create_task('asking', needs_approval => true)"),
    ("authenticated", "select devart.create_task('refused', needs_approval => true)"),
    ("authenticated", "select devart.create_tasks('[{\"title\": \"a\"}, {\"title\": \"b\"}, {\"title\": \"c\"}]')"),
    ("authenticated", "insert into devart.task_dependencies (task_id, depends_on)
        select b.id, a.id from devart.tasks a, devart.tasks b where a.title = 'a' and b.title = 'b'"),
    ("authenticated", "update devart.tasks set priority = 'HIGH' where title = 'c'"),
    ("authenticated", "update devart.tasks set required_capabilities = '{go}' where title = 'c'"),
    ("authenticated", "update devart.tasks set payload = '{\"a\": 1}' where title = 'c'"),
    ("authenticated", "select devart.update_task(id, '{\"title\": \"edited\", \"run_at\": \"2100-01-01\"}')
        from devart.tasks where title = 'c'"),
    ("authenticated", "select devart.cancel_task(id) from devart.tasks where title = 'a'"),
    ("authenticated", "select devart.retry_task(id) from devart.tasks where title = 'a'"),
    ("authenticated", "select devart.delete_task(id) from devart.tasks where title = 'edited'"),
    ("authenticated", "delete from devart.tasks where title = 'child by insert'"),
    ("authenticated", "update devart.tasks set description = 'edited' where title = 'refused'"),
    ("service_role", "select devart_private.task_in_state(id, '{TODO}', 'seen') from devart.tasks where title = 'open'"),
    ("second", "select devart.decide_approval(a.id, 'approve') from devart.approvals a
        join devart.tasks t on t.id = a.subject_id where t.title = 'asking'"),
    ("authenticated", "select devart.decide_approval(a.id, 'reject') from devart.approvals a
        join devart.tasks t on t.id = a.subject_id
        where t.title = 'refused' and a.status = 'PENDING'"),
    // agents
    ("authenticated", "select devart.register_agent('new', '{go,c}')"),
    ("authenticated", "select devart.revoke_agent_key(a.id, k ->> 'key_id')
        from devart.agents a, devart.rotate_agent_key(a.id) k where a.name = 'new'"),
    ("authenticated", "select devart.set_agent_activation(id, false) from devart.agents where name = 'new'"),
    ("authenticator", "select devart_private.authenticate_agent_key('none', '\\x00')"),
    ("authenticator", "select devart_private.agent_may_listen(gen_random_uuid()),
        devart_private.agent_may_take_from(gen_random_uuid(), 'tasks.todo')"),
    // work
    ("devart_agent", "select devart.agent_heartbeat()"),
    ("devart_agent", "select devart.is_my_task(c.task_id), devart.is_my_task_in_progress(c.task_id),
            devart.extend_lease(c.task_id, c.lease_token), devart.complete_task(c.task_id, c.lease_token)
        from devart.claim_next_task() c"),
    ("devart_agent", "select devart.complete_tasks(array[c.task_id], array[c.lease_token], array['{}'::jsonb])
        from devart.claim_tasks(max_tasks => 1, claim_key => gen_random_uuid()) c"),
    ("devart_agent", "select devart.release_task(c.task_id, c.lease_token)
        from devart.claim_tasks(max_tasks => 1) c"),
    ("devart_agent", "select devart.report_task_failure(c.task_id, c.lease_token, 'broken', true)
        from devart.claim_tasks(max_tasks => 1) c"),
    ("devart_agent", "select devart.report_task_failure(c.task_id, c.lease_token, 'broken', false)
        from devart.claim_tasks(max_tasks => 1) c"),
    ("authenticated", "select devart.create_task('by message')"),
    ("devart_agent", "select devart.start_task('{message}')"),
    ("devart_agent", "insert into devart.tasks (title, parent_task_id) values ('child', '{message}')"),
    ("devart_agent", "select devart.create_task(
        'keyed child', parent_task_id => '{message}', idempotency_key => 'k')
        from devart.my_tasks_in_progress()"),
    // money
    ("authenticated", "insert into devart.service_registry (name, budget_usd, period, time_zone)
        values ('third', 10, 'day', 'UTC')"),
    ("authenticated", "update devart.service_registry set substitute_service_id = '{substitute}',
        hard_limit = true, alert_thresholds = '{10,50}' where id = '{service}'"),
    ("authenticated", "select devart.update_service('{substitute}', '{\"budget_usd\": 60}')"),
    ("authenticated", "select devart.set_service_price('{service}', 'request', 0.01)"),
    ("authenticated", "select devart.set_service_price('{service}', 'token', 0.01, above_units => 9, usd_per_unit_above => 1)"),
    ("authenticated", "select devart.defer_service('{service}', now() + interval '1 hour', 'why')"),
    ("authenticated", "select devart.defer_service('{service}', now())"),
    ("authenticated", "insert into devart.budgets (scope, scope_id, budget_usd) values ('agent', '{agent}', 1000)"),
    ("authenticated", "insert into devart.budgets (scope, scope_id, budget_usd) values ('user', '{agent}', 5)"),
    ("authenticated", "update devart.budgets set budget_usd = 900 where scope = 'agent'"),
    ("authenticated", "select devart.update_budget(id, '{\"budget_usd\": 950}') from devart.budgets where scope = 'agent'"),
    ("authenticated", "select devart.delete_budget(id) from devart.budgets where scope = 'user'"),
    ("devart_agent", "select devart.charge_service('{service}', 1)"),
    ("devart_agent", "select devart.charge_service('{service}', 10, '{message}')"),
    ("devart_agent", "select devart.settle_charge((h ->> 'hold_id')::uuid, 0.5)
        from devart.reserve_charge('{service}', 1, null, '{message}') h"),
    ("devart_agent", "select devart.release_charge((h ->> 'hold_id')::uuid)
        from devart.reserve_charge('{service}', null, '{\"request\": 10}', idempotency_key => 'once') h"),
    ("devart_agent", "select devart.mark_dispatched((h ->> 'hold_id')::uuid),
            devart.extend_charge((h ->> 'hold_id')::uuid, 1, ttl_seconds => 60, idempotency_key => 'more'),
            devart.settle_charge((h ->> 'hold_id')::uuid, 0.25)
        from devart.reserve_charge('{service}', 1, dispatched => false) h"),
    ("devart_agent", "select devart.dispatch_task('{service}', 1)"),
    ("authenticated", "select devart.correct_charge(c.id, 0.5, 'wrong') from devart.charges c
        where c.kind = 'settle' and c.amount_usd = 0.25"),
    ("authenticated", "select devart.set_service_price('{substitute}', 'request', 0.01)"),
    ("authenticated", "select devart.correct_service_price(p.id, 0.02) from devart.service_prices p
        where p.service_id = '{substitute}'"),
    ("authenticated", "select devart.end_service_price(p.id) from devart.service_prices p
        where p.service_id = '{substitute}'"),
    ("devart_agent", "select devart.charge_service('{service}', 95)"),
    ("devart_agent", "select devart.charge_service('{service}', 1000)"),
    ("authenticated", "select devart.increase_budget('{service}', 100)"),
    ("authenticated", "select devart.create_task('costly', service_id => '{service}', estimated_cost_usd => 2)"),
    ("authenticated", "select devart.create_task('too costly', service_id => '{service}', estimated_cost_usd => 5000)"),
    ("devart_agent", "select devart.complete_task(c.task_id, c.lease_token) from devart.claim_tasks(max_tasks => 10) c"),
    ("authenticated", "update devart.tasks set estimated_cost_usd = 4000 where title = 'too costly'"),
    ("authenticated", "select devart.decide_approval(a.id, 'approve') from devart.approvals a
        join devart.tasks t on t.id = a.subject_id where t.title = 'too costly' and a.status = 'PENDING'"),
    ("service_role", "select devart_private.end_budget_wait(id) from devart.tasks where title = 'too costly'"),
    ("authenticated", "delete from devart.budgets"),
    // stops
    ("authenticated", "select devart.emergency_stop('why')"),
    ("devart_agent", "select devart.agent_heartbeat()"),
    ("devart_agent", "select devart.charge_service('{service}', 1)"),
    ("authenticated", "select devart.resume_work()"),
    ("authenticated", "select devart.pause('task', '{message}')"),
    ("devart_agent", "select devart.agent_heartbeat()"),
    ("devart_agent", "select devart.claim_next_task()"),
    ("devart_agent", "select devart.reserve_charge('{service}', 1)"),
    ("authenticated", "select devart.resume('task', '{message}')"),
    // outbox
    ("service_role", "select devart_private.enqueue('telegram.alert', 'key ' || n, '{}') from generate_series(1, 6) n"),
    ("service_role", "select devart_private.require_bridge_of('telegram.alert')"),
    ("service_role", "select devart_private.acknowledge_outbox('telegram.alert', array[c.id], array[c.lease_token])
        from devart_private.claim_outbox('telegram.alert', 1, '1 minute') c"),
    ("service_role", "select devart_private.fail_outbox('telegram.alert', array[c.id], array[c.lease_token], '{no}', '{1}', 1)
        from devart_private.claim_outbox('telegram.alert', 1, '1 minute') c"),
    ("service_role", "select devart_private.extend_outbox('telegram.alert', array[c.id], array[c.lease_token], '1 minute'),
            devart_private.return_outbox('telegram.alert', array[c.id], array[c.lease_token])
        from devart_private.claim_outbox('telegram.alert', 1, '1 minute') c"),
    ("service_role", "select devart_private.outbox_depth('telegram.alert')"),
    ("service_role", "select devart_private.outbox_topics()"),
    ("service_role", "select devart_private.buried_outbox_ids('telegram.alert')"),
    ("service_role", "select devart_private.replay_outbox('telegram.alert', array[r.id])
        from devart_private.outbox_rows('telegram.alert', true, 1) r"),
    ("service_role", "select devart_private.purge_outbox('telegram.alert', array[r.id])
        from devart_private.outbox_rows('telegram.alert', false, 1) r"),
    ("service_role", "select devart_private.task_messages_wanted()"),
    ("service_role", "select devart_private.send_task_messages('invite', array['{message}']::uuid[])"),
    ("service_role", "select devart_private.task_lanes(0)"),
    ("service_role", "select devart_private.invite_waiting_tasks()"),
    ("service_role", "select devart_private.invite_waiting_tasks('todo')"),
    ("service_role", "select devart_private.retired_lanes()"),
    // Its trigger is for each statement.
    ("devart_owner", "delete from devart_private.lanes l where l.id operator(pg_catalog.=) -1"),
    ("service_role", "select devart_private.forget_retired_lanes('{todo}')"),
    // the API and time
    ("authenticator", "select devart_private.begin_idempotent('p', 'k', '\\x00')"),
    ("authenticator", "select devart_private.finish_idempotent('p', 'k', 200, '{}')"),
    ("authenticator", "select devart_private.receive_github_delivery('1', 'pull_request', '{pull_request}')"),
    ("authenticator", "select devart_private.is_ready()"),
    ("authenticator", "select devart_private.can_grow()"),
    ("authenticated", "select devart.find_tasks('task')"),
    ("authenticated", "select devart.find_approvals('PENDING')"),
    ("devart_agent", "select devart.room_for_tasks()"),
    ("authenticator", "select devart_private.maintain()"),
];
