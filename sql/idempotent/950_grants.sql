-- Who may touch what at all; the policies then say which rows. Starts from nothing, so that a grant
-- removed here is gone after the next migrate.

revoke all on all tables in schema devart, devart_private
    from public, anon, authenticated, devart_agent, authenticator, devart_operator;
revoke all on all functions in schema devart, devart_private
    from public, anon, authenticated, devart_agent, authenticator, devart_operator;
revoke all on schema devart, devart_private
    from public, anon, authenticated, devart_agent, authenticator, devart_operator;

-- Operators
grant usage on schema devart, devart_private to service_role, devart_operator;
grant execute on all functions in schema devart_private to service_role, devart_operator;
grant select, insert, update, delete on all tables in schema devart
    to service_role, devart_operator;
grant execute on all functions in schema devart to service_role, devart_operator;
-- Stops change by their functions only, which wait for what begins at the same moment.
revoke insert, update, delete on devart.stops from service_role, devart_operator;

-- Everybody with a token
grant usage on schema devart to anon, authenticated, devart_agent;
grant execute on function
    devart.uuid_v7(), devart.my_user_id(), devart.my_agent_id(), devart.get_my_role(),
    devart.is_supervisor(), devart.render_template(text, jsonb), devart.readable_json(jsonb)
    to anon, authenticated, devart_agent;

-- Whoever writes JSON: its domains ask this function with the writer's rights.
grant execute on function devart_private.check_json(jsonb, text, int)
    to authenticated, devart_agent;

-- People
grant select on
    devart.tasks, devart.task_dependencies, devart.task_events, devart.charges, devart.agents,
    devart.service_registry, devart.approvals, devart.approval_votes, devart.system_settings,
    devart.holds, devart.budgets, devart.budget_windows, devart.service_prices,
    devart.user_roles, devart.audit_log, devart.stops, devart.queue_depth,
    devart.agent_status_summary,
    devart.service_status
    to authenticated;
grant insert (title, description, priority, payload, parent_task_id, service_id,
              required_capabilities, run_at, max_retries, estimated_cost_usd, idempotency_key,
              traceparent, timeout_seconds, needs_approval, request_digest, status)
    on devart.tasks to authenticated, devart_agent;
-- Not run_at: it decides the status, whose history only update_task and its like may write.
grant update (title, description, priority, payload, service_id, required_capabilities,
              max_retries, estimated_cost_usd, timeout_seconds)
    on devart.tasks to authenticated;
grant delete on devart.tasks to authenticated;
grant insert (task_id, depends_on) on devart.task_dependencies to authenticated, devart_agent;
grant insert (name, description, status, budget_usd, period, time_zone, substitute_service_id,
              alert_thresholds, hard_limit, estimate_floor_usd)
    on devart.service_registry to authenticated;
grant update (name, description, status, budget_usd, period, time_zone, substitute_service_id,
              alert_thresholds, hard_limit, estimate_floor_usd)
    on devart.service_registry to authenticated;
grant insert (scope, scope_id, budget_usd, period, time_zone, hard_limit, alert_thresholds)
    on devart.budgets to authenticated;
grant update (budget_usd, period, time_zone, hard_limit, alert_thresholds)
    on devart.budgets to authenticated;
grant delete on devart.budgets to authenticated;
grant execute on function
    devart.create_task(
        text, text, devart.task_priority, jsonb, uuid, uuid, text[], timestamptz, int, numeric,
        uuid[], boolean, text, text, int),
    devart.create_tasks(jsonb),
    devart.task_request_digest(
        text, text, devart.task_priority, jsonb, uuid, uuid, text[], timestamptz, int, numeric,
        uuid[], boolean, int),
    devart.child_of_earlier_attempt(uuid, text),
    devart.find_tasks(
        text, devart.task_status, devart.task_priority, uuid, uuid, boolean, uuid, int)
    to authenticated, devart_agent;
grant execute on function
    devart.find_approvals(devart.approval_status, uuid, int),
    devart.update_task(uuid, jsonb), devart.delete_task(uuid), devart.cancel_task(uuid, text),
    devart.retry_task(uuid),
    devart.decide_approval(uuid, text, text, uuid), devart.register_agent(text, text[], text),
    devart.rotate_agent_key(uuid, timestamptz), devart.revoke_agent_key(uuid, text),
    devart.set_agent_activation(uuid, boolean), devart.set_setting(text, jsonb),
    devart.increase_budget(uuid, numeric, numeric), devart.defer_service(uuid, timestamptz, text),
    devart.set_service_price(uuid, text, numeric, timestamptz, numeric, numeric),
    devart.update_service(uuid, jsonb), devart.update_budget(uuid, jsonb),
    devart.delete_budget(uuid), devart.release_charge(uuid),
    devart.correct_charge(uuid, numeric, text),
    devart.end_service_price(uuid, timestamptz),
    devart.correct_service_price(uuid, numeric, timestamptz),
    devart.emergency_stop(text), devart.resume_work(),
    devart.pause(text, uuid, text), devart.resume(text, uuid)
    to authenticated;

-- Agents
grant select on
    devart.tasks, devart.task_dependencies, devart.task_events, devart.charges, devart.agents,
    devart.holds, devart.service_registry, devart.service_prices, devart.service_status
    to devart_agent;
grant execute on function
    devart.is_my_task(uuid), devart.is_my_task_in_progress(uuid), devart.my_tasks_in_progress(),
    devart.room_for_tasks(),
    devart.claim_next_task(uuid), devart.claim_tasks(uuid, int, uuid),
    devart.start_task(uuid, uuid, uuid),
    devart.extend_lease(uuid, uuid, int), devart.release_task(uuid, uuid),
    devart.complete_task(uuid, uuid, jsonb),
    devart.complete_tasks(uuid[], uuid[], jsonb[]),
    devart.report_task_failure(uuid, uuid, text, boolean, interval),
    devart.agent_heartbeat(uuid, jsonb), devart.charge_service(uuid, numeric, uuid, text),
    devart.reserve_charge(uuid, numeric, jsonb, uuid, uuid, text, interval, boolean),
    devart.mark_dispatched(uuid, uuid),
    devart.extend_charge(uuid, numeric, jsonb, int, text),
    devart.settle_charge(uuid, numeric, jsonb),
    devart.release_charge(uuid), devart.defer_service(uuid, timestamptz, text),
    devart.dispatch_task(uuid, numeric, jsonb, uuid, uuid, text, boolean, interval, boolean)
    to devart_agent;

-- The login of the API and PostgREST, before it takes a caller's role
grant usage on schema devart_private to authenticator;
grant execute on function
    devart_private.authenticate_agent_key(text, bytea),
    devart_private.authenticate_password_hash(text),
    devart_private.agent_may_listen(uuid), devart_private.agent_may_take_from(uuid, text),
    devart_private.receive_github_delivery(text, text, jsonb),
    devart_private.begin_idempotent(text, text, bytea),
    devart_private.finish_idempotent(text, text, int, jsonb),
    devart_private.maintain(), devart_private.is_ready(),
    devart_private.readiness(text[]), devart_private.can_grow(),
    devart_private.create_task_as, devart_private.complete_task_as,
    devart_private.report_task_failure_as, devart_private.extend_lease_as,
    devart_private.release_task_as,
    devart_private.agent_heartbeat_as, devart_private.charge_service_as,
    devart_private.dispatch_task_as, devart_private.settle_charge_as,
    devart_private.release_charge_as, devart_private.mark_dispatched_as,
    devart_private.extend_charge_as
    to authenticator;

-- Bridges: each may work on the outbox, where the rule in 150_outbox.sql leaves it its own topics.
do $$
declare
    v_role name;
begin
    for v_role in select r.rolname from pg_roles r where r.rolname ^@ 'devart_bridge_' loop
        execute format('revoke all on all tables in schema devart, devart_private from %I', v_role);
        execute format('revoke all on all functions in schema devart, devart_private from %I',
            v_role);
        execute format('revoke all on schema devart, devart_private from %I', v_role);
        execute format('grant usage on schema devart_private to %I', v_role);
        execute format(
            'grant execute on function
                devart_private.claim_outbox(text, int, interval, timestamptz),
                devart_private.acknowledge_outbox(text, bigint[], uuid[]),
                devart_private.fail_outbox(text, bigint[], uuid[], text[], float8[], int),
                devart_private.extend_outbox(text, bigint[], uuid[], interval),
                devart_private.return_outbox(text, bigint[], uuid[]),
                devart_private.outbox_depth(text), devart_private.is_ready(),
                devart_private.readiness(text[])
                to %I', v_role);
    end loop;
end
$$;

-- The bridge to RabbitMQ compares queues with lanes
grant execute on function
    devart_private.task_lanes(float8), devart_private.invite_waiting_tasks(text[]),
    devart_private.invite_waiting_tasks(text),
    devart_private.retired_lanes(), devart_private.forget_retired_lanes(text[])
    to devart_bridge_rabbitmq;

-- Grafana: the columns that dashboards/grafana shows, and those that the views it reads are made
-- of. Nothing that people or agents wrote (titles, payloads, results, errors, details), no keys, no
-- tokens.
revoke all on all tables in schema devart, devart_private from devart_grafana;
revoke all on all functions in schema devart, devart_private from devart_grafana;
revoke all on schema devart, devart_private from devart_grafana;
grant usage on schema devart to devart_grafana;
grant select on devart.queue_depth, devart.agent_status_summary, devart.service_status
    to devart_grafana;
grant select (id, priority, status, ready_at, claimed_at, finished_at)
    on devart.tasks to devart_grafana;
grant select (status, active_task_count) on devart.agents to devart_grafana;
grant select (service_id, task_id, kind, amount_usd, created_at)
    on devart.charges to devart_grafana;
grant select (id, name, description, status, budget_usd, period, time_zone, spent_usd, held_usd,
              substitute_service_id, alert_thresholds, hard_limit, created_at, window_start,
              window_end, deferred_until)
    on devart.service_registry to devart_grafana;
grant select (scope, scope_id, budget_usd, period, spent_usd, held_usd, window_end)
    on devart.budgets to devart_grafana;
