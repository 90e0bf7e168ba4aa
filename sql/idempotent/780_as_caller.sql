-- What the API calls most, in one round trip: each function takes the caller's role and claims on
-- and calls its namesake in devart. Nothing is decided here; what the caller may do is checked at
-- that call, under the caller's role.
--
-- The role and the claims are set for the transaction only, so called outside of BEGIN and COMMIT
-- they end with the statement, whatever becomes of it or of whoever sent it, and the connection's
-- next user has neither. Inside of a transaction they stay until its end. One transaction has one
-- caller: PL/pgSQL asks once per transaction whether the role may call the function.
--
-- Errors: those of the namesake; 42501 or 22023 for a role that the login may not take on.

-- Priorities are text here: a login without rights on the schema devart cannot name its types.
drop function if exists devart_private.create_task_as(
    text, text, text, text, text, jsonb, uuid, uuid, text[], timestamptz, int, numeric, uuid[],
    boolean, text);
create or replace function devart_private.create_task_as(
    caller_role text, caller_claims text, title text, description text, priority text,
    payload jsonb, parent_task_id uuid, service_id uuid, required_capabilities text[],
    run_at timestamptz, max_retries int, estimated_cost_usd numeric, depends_on uuid[],
    needs_approval boolean,
    traceparent text, idempotency_key text, timeout_seconds int
)
returns devart.tasks language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.create_task(
        title => title, description => description, priority => priority::devart.task_priority,
        payload => payload, parent_task_id => parent_task_id, service_id => service_id,
        required_capabilities => required_capabilities, run_at => run_at,
        max_retries => max_retries, estimated_cost_usd => estimated_cost_usd,
        depends_on => depends_on, needs_approval => needs_approval, traceparent => traceparent,
        idempotency_key => idempotency_key, timeout_seconds => timeout_seconds);
end
$$;

create or replace function devart_private.complete_task_as(
    caller_role text, caller_claims text, task_id uuid, lease_token uuid, result jsonb
)
returns table (status text, run_at timestamptz, lease_expires_at timestamptz) language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return query select * from devart.complete_task(
        task_id => task_id, lease_token => lease_token, result => result);
end
$$;

create or replace function devart_private.report_task_failure_as(
    caller_role text, caller_claims text, task_id uuid, lease_token uuid, error text,
    retryable boolean, retry_after interval
)
returns table (status text, run_at timestamptz, lease_expires_at timestamptz) language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return query select * from devart.report_task_failure(
        task_id => task_id, lease_token => lease_token, error => error, retryable => retryable,
        retry_after => retry_after);
end
$$;

create or replace function devart_private.extend_lease_as(
    caller_role text, caller_claims text, task_id uuid, lease_token uuid, seconds int
)
returns table (status text, run_at timestamptz, lease_expires_at timestamptz) language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return query select * from devart.extend_lease(
        task_id => task_id, lease_token => lease_token, seconds => seconds);
end
$$;

create or replace function devart_private.release_task_as(
    caller_role text, caller_claims text, task_id uuid, lease_token uuid
)
returns table (status text, run_at timestamptz, lease_expires_at timestamptz) language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return query select * from devart.release_task(task_id => task_id, lease_token => lease_token);
end
$$;

create or replace function devart_private.agent_heartbeat_as(
    caller_role text, caller_claims text, detail jsonb
)
returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.agent_heartbeat(detail => detail);
end
$$;

create or replace function devart_private.charge_service_as(
    caller_role text, caller_claims text, service_id uuid, amount_usd numeric, task_id uuid,
    idempotency_key text
)
returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.charge_service(
        service_id => service_id, amount_usd => amount_usd, task_id => task_id,
        idempotency_key => idempotency_key);
end
$$;

drop function if exists devart_private.dispatch_task_as(
    text, text, uuid, numeric, jsonb, uuid, uuid, text, boolean, interval);
create or replace function devart_private.dispatch_task_as(
    caller_role text, caller_claims text, service_id uuid, estimate_usd numeric, usage jsonb,
    task_id uuid, lease_token uuid, idempotency_key text, ask boolean, ttl interval,
    dispatched boolean default true
)
returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.dispatch_task(
        service_id => service_id, estimate_usd => estimate_usd, usage => usage, task_id => task_id,
        lease_token => lease_token, idempotency_key => idempotency_key, ask => ask, ttl => ttl,
        dispatched => dispatched);
end
$$;

create or replace function devart_private.mark_dispatched_as(
    caller_role text, caller_claims text, hold_id uuid, lease_token uuid
)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.mark_dispatched(hold_id => hold_id, lease_token => lease_token);
end
$$;

create or replace function devart_private.extend_charge_as(
    caller_role text, caller_claims text, hold_id uuid, more_usd numeric, usage jsonb,
    ttl_seconds int, idempotency_key text
)
returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.extend_charge(
        hold_id => hold_id, more_usd => more_usd, usage => usage, ttl_seconds => ttl_seconds,
        idempotency_key => idempotency_key);
end
$$;

create or replace function devart_private.settle_charge_as(
    caller_role text, caller_claims text, hold_id uuid, amount_usd numeric, usage jsonb
)
returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.settle_charge(hold_id => hold_id, amount_usd => amount_usd, usage => usage);
end
$$;

create or replace function devart_private.release_charge_as(
    caller_role text, caller_claims text, hold_id uuid
)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    caller_claims := set_config('request.jwt.claims', caller_claims, true);
    caller_role := set_config('role', caller_role, true);
    return devart.release_charge(hold_id => hold_id);
end
$$;
