//! The table of docs/security.md as statements.

/// Who is asked about, in the order of the columns below.
pub const CALLERS: [&str; 5] = ["anon", "viewer", "supervisor", "admin", "agent"];

/// `sql` with `+` for each caller who may and `-` for each who may not, in the order of [`CALLERS`].
/// A read that gives no rows counts as "may not". `{task}`, `{own}`, `{agent}`, `{approval}`: ids of a waiting
/// task, of one that the agent works on, of another agent, and of an approval;
/// `{hold}` and `{others_hold}`: holds of the agent and of another; `{budget}`: a budget.
pub const MAY: &[(&str, &str)] = &[
    // read
    (
        "read: select from devart.tasks where id = '{task}'",
        "-+++-",
    ),
    ("read: select from devart.tasks where id = '{own}'", "-++++"),
    (
        "read: select from devart.task_events where task_id = '{own}'",
        "-++++",
    ),
    ("read: select from devart.task_dependencies", "-+++-"),
    (
        "read: select from devart.charges where hold_id is null",
        "-+++-",
    ),
    (
        "read: select from devart.charges where hold_id = '{hold}'",
        "-++++",
    ),
    (
        "read: select from devart.agents where id = '{agent}'",
        "-+++-",
    ),
    (
        "read: select from devart.holds where id = '{hold}'",
        "-++++",
    ),
    (
        "read: select from devart.holds where id = '{others_hold}'",
        "-+++-",
    ),
    ("read: select from devart.budgets", "-+++-"),
    ("read: select from devart.budget_windows", "-+++-"),
    ("read: select from devart.service_prices", "-++++"),
    ("read: select from devart.service_registry", "-++++"),
    ("read: select from devart.service_status", "-++++"),
    ("read: select from devart.queue_depth", "-+++-"),
    (
        "read: select from devart.find_tasks('') f where f = '{task}'",
        "-+++-",
    ),
    (
        "read: select from devart.find_tasks() f where f = '{task}'",
        "-+++-",
    ),
    (
        "read: select from devart.find_tasks() f where f = '{own}'",
        "-++++",
    ),
    (
        "read: select from devart.find_approvals('PENDING')",
        "-+++-",
    ),
    ("read: select from devart.agent_status_summary", "-+++-"),
    ("read: select from devart.approvals", "-+++-"),
    ("read: select from devart.approval_votes", "-+++-"),
    ("read: select from devart.system_settings", "-+++-"),
    (
        "read: select from devart.user_roles where user_id = devart.my_user_id()",
        "-+++-",
    ),
    (
        "read: select from devart.user_roles where user_id is distinct from devart.my_user_id()",
        "---+-",
    ),
    ("read: select from devart.audit_log", "---+-"),
    // tasks
    ("select devart.create_task('t')", "--++-"),
    (
        "select devart.create_task('t', parent_task_id => '{own}')",
        "--+++",
    ),
    ("insert into devart.tasks (title) values ('t')", "--++-"),
    (
        "insert into devart.tasks (title, status) values ('t', 'DONE')",
        "-----",
    ),
    (
        "insert into devart.tasks (title, agent_id) values ('t', null)",
        "-----",
    ),
    (
        "select devart.create_tasks('[{\"title\": \"t\"}]')",
        "--++-",
    ),
    (
        "select devart.update_task('{task}', '{\"title\": \"u\"}')",
        "--++-",
    ),
    (
        "read: update devart.tasks set title = 'u' where id = '{task}' returning 1",
        "--++-",
    ),
    (
        "update devart.tasks set status = 'DONE' where id = '{own}'",
        "-----",
    ),
    ("select devart.cancel_task('{task}')", "--++-"),
    ("select devart.delete_task('{task}')", "--++-"),
    ("select devart.retry_task('{dead}')", "--++-"),
    (
        "select devart.decide_approval('{approval}', 'approve')",
        "--++-",
    ),
    // work
    ("select devart.claim_next_task()", "----+"),
    ("select devart.room_for_tasks()", "----+"),
    ("select devart.claim_tasks(null, 2)", "----+"),
    ("select devart.claim_next_task('{agent}')", "-----"),
    ("select devart.start_task('{task}')", "----+"),
    ("select devart.agent_heartbeat()", "----+"),
    ("select devart.agent_heartbeat('{agent}')", "-----"),
    ("select devart.extend_lease('{own}', '{token}')", "----+"),
    ("select devart.release_task('{own}', '{token}')", "----+"),
    ("select devart.complete_task('{own}', '{token}')", "----+"),
    (
        "select devart.complete_tasks(array['{own}']::uuid[], array['{token}']::uuid[])",
        "----+",
    ),
    (
        "select devart.report_task_failure('{own}', '{token}', 'e')",
        "----+",
    ),
    (
        "select devart.charge_service((select id from devart.service_registry limit 1), 1)",
        "----+",
    ),
    (
        "select devart.reserve_charge((select id from devart.service_registry limit 1), 1)",
        "----+",
    ),
    (
        "select devart.dispatch_task((select id from devart.service_registry limit 1), 1)",
        "----+",
    ),
    ("select devart.settle_charge('{hold}', 1)", "----+"),
    ("select devart.release_charge('{hold}')", "--+++"),
    ("select devart.settle_charge('{others_hold}', 1)", "-----"),
    ("select devart.release_charge('{others_hold}')", "--++-"),
    ("select devart.mark_dispatched('{hold}')", "----+"),
    ("select devart.extend_charge('{hold}', 1)", "----+"),
    ("select devart.mark_dispatched('{others_hold}')", "-----"),
    ("select devart.extend_charge('{others_hold}', 1)", "-----"),
    // management
    ("select devart.register_agent('new')", "--++-"),
    ("select devart.rotate_agent_key('{agent}')", "--++-"),
    (
        "select devart.revoke_agent_key('{agent}', '{key}')",
        "--++-",
    ),
    (
        "select devart.set_agent_activation('{agent}', false)",
        "--++-",
    ),
    ("select devart.emergency_stop('why')", "--++-"),
    ("select devart.resume_work()", "--++-"),
    ("select devart.pause('agent', '{agent}')", "--++-"),
    ("select devart.resume('agent', '{agent}')", "--++-"),
    (
        "insert into devart.stops (scope, stopped_by) values ('all', 'x')",
        "-----",
    ),
    ("delete from devart.stops", "-----"),
    ("update devart.agents set name = 'x'", "-----"),
    (
        "insert into devart.service_registry (name) values ('new')",
        "---+-",
    ),
    (
        "read: update devart.service_registry set budget_usd = 1 returning 1",
        "---+-",
    ),
    ("update devart.service_registry set spent_usd = 0", "-----"),
    (
        "select devart.increase_budget((select id from devart.service_registry limit 1), 1)",
        "--++-",
    ),
    (
        "select devart.defer_service((select id from devart.service_registry limit 1), now() + interval '1 hour')",
        "--+++",
    ),
    (
        "select devart.set_service_price((select id from devart.service_registry limit 1), 'second', 1)",
        "---+-",
    ),
    (
        "select devart.update_service((select id from devart.service_registry limit 1), '{\"hard_limit\": false}')",
        "---+-",
    ),
    (
        "select devart.update_budget('{budget}', '{\"budget_usd\": 6}')",
        "---+-",
    ),
    ("select devart.delete_budget('{budget}')", "---+-"),
    (
        "select devart.correct_charge((select id from devart.charges where kind = 'settle' limit 1), 1, 'wrong')",
        "---+-",
    ),
    (
        "select devart.correct_service_price((select id from devart.service_prices limit 1), 2)",
        "---+-",
    ),
    (
        "select devart.end_service_price((select id from devart.service_prices limit 1))",
        "---+-",
    ),
    ("delete from devart.service_prices", "-----"),
    (
        "insert into devart.budgets (scope, scope_id, budget_usd) values ('user', '{agent}', 1)",
        "---+-",
    ),
    (
        "read: update devart.budgets set budget_usd = 1 returning 1",
        "---+-",
    ),
    ("update devart.budgets set spent_usd = 0", "-----"),
    ("read: delete from devart.budgets returning 1", "---+-"),
    ("delete from devart.holds", "-----"),
    ("update devart.budget_windows set spent_usd = 0", "-----"),
    ("select devart.set_setting('max_rescues', '5')", "---+-"),
    ("update devart.system_settings set value = '5'", "-----"),
    (
        "insert into devart.user_roles (user_id, role) values (devart.my_user_id(), 'admin')",
        "-----",
    ),
    ("update devart.user_roles set role = 'admin'", "-----"),
    ("delete from devart.audit_log", "-----"),
    ("delete from devart.task_events", "-----"),
    (
        "insert into devart.charges (service_id, amount_usd, kind) select id, 1, 'settle' from devart.service_registry",
        "-----",
    ),
    // what is private
    ("select * from devart_private.agent_api_keys", "-----"),
    ("select devart_private.maintain()", "-----"),
    (
        "select devart_private.put_user('a@b', null, 'admin')",
        "-----",
    ),
    ("select * from auth.users", "-----"),
    ("select devart.generate_api_key()", "-----"),
    ("select devart.hash_api_key('k')", "-----"),
    ("select devart.constant_time_equals('a', 'a')", "-----"),
    (
        "select devart.verify_github_signature('s', 'b', 'h')",
        "-----",
    ),
    // harmless
    ("select devart.uuid_v7()", "+++++"),
    ("select devart.render_template('t', '{}')", "+++++"),
    (
        "select devart.task_request_digest(
            't', null, null, null, null, null, null, null, null, null, null, null, null)",
        "-++++",
    ),
    ("select devart.readable_json('{}')", "+++++"),
    ("select devart.get_my_role()", "+++++"),
    ("select devart.is_supervisor()", "+++++"),
    ("select devart.my_user_id()", "+++++"),
    ("select devart.my_agent_id()", "+++++"),
    ("select devart.is_my_task('{own}')", "----+"),
    ("select devart.is_my_task_in_progress('{own}')", "----+"),
    ("select devart.my_tasks_in_progress()", "----+"),
    (
        "select devart.child_of_earlier_attempt('{own}', 'k')",
        "-++++",
    ),
];

/// What of the above Grafana may, too: nothing but reading what its dashboards are made of.
pub const GRAFANA_MAY: &[&str] = &[
    "read: select from devart.tasks where id = '{task}'",
    "read: select from devart.tasks where id = '{own}'",
    "read: select from devart.budgets",
    "read: select from devart.service_registry",
    "read: select from devart.service_status",
    "read: select from devart.queue_depth",
    "read: select from devart.agent_status_summary",
];
