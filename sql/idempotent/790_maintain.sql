-- What time causes. maintain() may be called from anywhere, at any rate: one caller at a time
-- works, the others return at once, and each step is bounded.

-- Lets tasks go whose time has come.
create or replace function devart_private.promote_due_tasks(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.tasks t set status = 'TODO'
    where t.id in (
        select d.id from devart.tasks d
        where d.status = 'SCHEDULED' and d.run_at <= now()
        order by d.run_at limit p_limit
        for update skip locked
    );
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Takes tasks back from workers whose lease expired. One that keeps losing its workers fails
-- instead.
create or replace function devart_private.rescue_expired_leases(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_max_rescues int := devart_private.setting_number('max_rescues');
    v_count int;
begin
    update devart.tasks t
    set status = case when t.rescue_count < v_max_rescues then 'TODO' else 'FAILED' end
            ::devart.task_status,
        rescue_count = t.rescue_count + 1,
        finished_at = case when t.rescue_count < v_max_rescues then null else now() end,
        agent_id = case when t.rescue_count < v_max_rescues then null else t.agent_id end,
        lease_token = null, lease_expires_at = null,
        last_error = format('lease of attempt %s expired', t.attempt)
    where t.id in (
        select e.id from devart.tasks e
        where e.status = 'IN_PROGRESS' and e.lease_expires_at < now()
        order by e.id limit p_limit
        for update skip locked
    );
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Writes what agents do where it differs from what is stored: silent ones are OFFLINE.
create or replace function devart_private.refresh_agent_status()
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_offline_after interval := make_interval(
        secs => devart_private.setting_number('agent_offline_seconds')::float8);
    v_count int;
begin
    with busy as (
        select t.agent_id, count(*)::int as tasks from devart.tasks t
        where t.status = 'IN_PROGRESS' group by t.agent_id
    ), actual as (
        select a.id, coalesce(b.tasks, 0) as tasks,
            case when a.last_heartbeat_at < now() - v_offline_after then 'OFFLINE'
                 when b.tasks > 0 then 'BUSY' else 'IDLE' end::devart.agent_status as status
        from devart.agents a left join busy b on b.agent_id = a.id
        where a.status in ('IDLE', 'BUSY')
    )
    update devart.agents a set status = actual.status, active_task_count = actual.tasks
    from actual
    where actual.id = a.id and a.status in ('IDLE', 'BUSY')
      and (a.status, a.active_task_count) is distinct from (actual.status, actual.tasks);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

create or replace function devart_private.forget_old_requests()
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    delete from devart_private.idempotency i
    where (i.principal, i.key) in (
        select o.principal, o.key from devart_private.idempotency o
        where o.created_at < now() - interval '1 day' limit 1000
    );
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Does all of it; returns how much of each. busy: somebody else is at it.
create or replace function devart_private.maintain()
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if not pg_try_advisory_xact_lock(hashtext('devart maintain')) then
        return '{"busy": true}';
    end if;
    return jsonb_build_object(
        'promoted', devart_private.promote_due_tasks(1000),
        'rescued', devart_private.rescue_expired_leases(1000),
        'agents_refreshed', devart_private.refresh_agent_status(),
        'approvals_expired', devart_private.expire_approvals(),
        'holds_expired', devart_private.expire_holds(1000),
        'tasks_resumed', devart_private.resume_waiting_tasks(),
        'requests_forgotten', devart_private.forget_old_requests()
    );
end
$$;

-- Whether the schema is complete: asked by the API before it says that it is ready.
create or replace function devart_private.is_ready()
returns boolean language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select exists (select from devart_private.migrations)
$$;
