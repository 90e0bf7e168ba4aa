-- What time causes. maintain() may be called from anywhere, at any rate: one caller at a time
-- works, the others return at once, and each step is bounded.

-- Lets these tasks go, which wait for nothing any more.
create or replace function devart_private.promote_tasks(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.tasks t set status = 'TODO' where t.id = any (p_ids);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Lets tasks go whose time has come.
create or replace function devart_private.promote_due_tasks(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('promote_tasks');
begin
    return devart_private.do_rows('promote_tasks', array(
        select d.id from devart.tasks d
        where d.status = 'SCHEDULED' and d.run_at <= now() and d.id <> all (v_put_off)
        order by d.run_at limit p_limit
        for update skip locked));
end
$$;

-- Lets BLOCKED tasks go that depend on nothing open: inserted so, without what they depend on, or
-- left so by an earlier version. Whoever inserts has a minute to say what they depend on.
create or replace function devart_private.promote_stuck_tasks(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('promote_tasks');
begin
    return devart_private.do_rows('promote_tasks', array(
        select s.id from devart.tasks s
        where s.status = 'BLOCKED' and s.open_dependencies = 0
          and s.ready_at < now() - interval '1 minute' and s.id <> all (v_put_off)
        order by s.ready_at limit p_limit
        for no key update skip locked));
end
$$;

-- These tasks are scheduled for a time that never comes: they have failed, and people see why.
create or replace function devart_private.fail_endless_tasks(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.tasks t
    set status = 'FAILED', finished_at = now(),
        last_error = 'run_at must be a time from 1970 to 2999: it never came'
    where t.id = any (p_ids);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Sets tasks aside whose time never comes, from before there was a rule about it.
create or replace function devart_private.set_endless_tasks_aside(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('fail_endless_tasks');
begin
    return devart_private.do_rows('fail_endless_tasks', array(
        select d.id from devart.tasks d
        where d.status = 'SCHEDULED' and d.run_at >= '3000-01-01 00:00+00'
          and d.id <> all (v_put_off)
        order by d.run_at limit p_limit
        for no key update skip locked));
end
$$;

-- Takes these tasks back from workers whose lease expired. One that keeps losing its workers fails
-- instead.
create or replace function devart_private.rescue_tasks(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_max_rescues int := devart_private.setting_number('max_rescues');
    v_count int;
begin
    update devart.tasks t
    set status = case when t.rescue_count < v_max_rescues then 'TODO' else 'FAILED' end
            ::devart.task_status,
        rescue_count = least(t.rescue_count, 999999999) + 1,
        finished_at = case when t.rescue_count < v_max_rescues then null else now() end,
        agent_id = case when t.rescue_count < v_max_rescues then null else t.agent_id end,
        lease_token = null, lease_expires_at = null,
        last_error = format('lease of attempt %s expired', t.attempt)
    where t.id = any (p_ids);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

create or replace function devart_private.rescue_expired_leases(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('rescue_tasks');
begin
    return devart_private.do_rows('rescue_tasks', array(
        select e.id from devart.tasks e
        where e.status = 'IN_PROGRESS' and e.lease_expires_at < now() and e.id <> all (v_put_off)
        order by e.id limit p_limit
        for update skip locked));
end
$$;

-- Ends attempts that ran for longer than their task allows, whatever their workers say: each counts
-- as a failure, with the backoff of report_task_failure.
create or replace function devart_private.time_out_tasks(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_base float8 := devart_private.setting_number('retry_base_seconds');
    v_max float8 := devart_private.setting_number('retry_max_seconds');
    v_count int;
begin
    update devart.tasks t
    set status = case when t.retry_count < t.max_retries then 'SCHEDULED' else 'FAILED' end
            ::devart.task_status,
        retry_count = t.retry_count + (t.retry_count < t.max_retries)::int,
        run_at = case
            when t.retry_count < t.max_retries then clock_timestamp() + make_interval(
                secs => least(v_max, v_base * 2.0 ^ least(t.retry_count, 60))
                    * (1 + 0.2 * random()))
            else t.run_at
        end,
        finished_at = case when t.retry_count < t.max_retries then null else now() end,
        agent_id = case when t.retry_count < t.max_retries then null else t.agent_id end,
        lease_token = null, lease_expires_at = null,
        last_error = format('attempt %s ran for longer than timeout_seconds, which is %s',
                            t.attempt, t.timeout_seconds)
    where t.id = any (p_ids);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

create or replace function devart_private.end_overdue_tasks(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('time_out_tasks');
begin
    return devart_private.do_rows('time_out_tasks', array(
        select o.id from devart.tasks o
        where o.status = 'IN_PROGRESS' and o.timeout_seconds is not null
          and o.claimed_at < now() - make_interval(secs => o.timeout_seconds)
          and o.id <> all (v_put_off)
        order by o.id limit p_limit
        for no key update skip locked));
end
$$;

-- What agents do where it differs from what is stored: silent ones are OFFLINE.
create or replace function devart_private.changed_agents()
returns table (id uuid, tasks int, status devart.agent_status) language sql stable
set search_path = pg_catalog, pg_temp as $$
    with offline as (
        select make_interval(
            secs => devart_private.setting_number('agent_offline_seconds')::float8) as after
    ), busy as (
        select t.agent_id, count(*)::int as tasks from devart.tasks t
        where t.status = 'IN_PROGRESS' group by t.agent_id
    ), actual as (
        select a.id, coalesce(b.tasks, 0) as tasks, a.active_task_count, a.status as stored,
            case
                when a.last_heartbeat_at < now() - (select o.after from offline o) then 'OFFLINE'
                when b.tasks > 0 then 'BUSY'
                else 'IDLE'
            end::devart.agent_status as status
        from devart.agents a left join busy b on b.agent_id = a.id
        where a.status in ('IDLE', 'BUSY')
    )
    select c.id, c.tasks, c.status from actual c
    where (c.stored, c.active_task_count) is distinct from (c.status, c.tasks)
$$;

-- Writes it of these agents.
create or replace function devart_private.refresh_agents(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.agents a set status = c.status, active_task_count = c.tasks
    from devart_private.changed_agents() c
    where a.id = c.id and a.id = any (p_ids) and a.status in ('IDLE', 'BUSY');
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

create or replace function devart_private.refresh_agent_status()
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('refresh_agents');
begin
    return devart_private.do_rows('refresh_agents', array(
        select c.id from devart_private.changed_agents() c where c.id <> all (v_put_off)));
end
$$;

-- Forgets keys that name no row: those of HTTP requests after a day, those of charges when no hold
-- that was made under them can be open any more.
create or replace function devart_private.forget_old_requests()
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
    v_charges int;
begin
    delete from devart_private.charge_keys k
    where (k.principal, k.key) in (
        select o.principal, o.key from devart_private.charge_keys o
        where o.created_at < now() - interval '31 days' limit 1000
    );
    get diagnostics v_charges = row_count;
    delete from devart_private.idempotency i
    where (i.principal, i.key) in (
        select o.principal, o.key from devart_private.idempotency o
        where o.created_at < now() - interval '1 day' limit 1000
    );
    get diagnostics v_count = row_count;
    delete from devart_private.put_off_rows p where p.retry_at < now() - interval '1 day';
    return v_count + v_charges;
end
$$;

-- How long ago maintain() last did all of its work, in seconds; up to five more than it is.
create or replace function devart_private.seconds_since_maintenance()
returns float8 language sql stable
set search_path = pg_catalog, pg_temp as $$
    select greatest(extract(epoch from clock_timestamp() - m.succeeded_at), 0)::float8
    from devart_private.maintenance m
$$;

-- Does all of it; returns how much of each. A row that meets an error is put off
-- (785_row_by_row.sql); put_off tells of how many that is so. A step that fails as a whole is taken
-- back and told in failed, with its SQLSTATE; the others are done all the same. busy: somebody else
-- is at it.
-- seconds_since_success: how long ago all of it was last done. The lock is one that only devart's
-- own functions can take.
create or replace function devart_private.maintain()
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_steps constant text[] := array[
        -- First: it takes longest, and holds no lock of a task.
        'titles_indexed', 'index_titles(3000)',
        'promoted', 'promote_due_tasks(1000)',
        'deferrals_ended', 'resume_deferred_tasks(2000)',
        'deferred', 'defer_waiting_tasks(2000)',
        'unblocked', 'promote_stuck_tasks(1000)',
        'set_aside', 'set_endless_tasks_aside(1000)',
        'timed_out', 'end_overdue_tasks(1000)',
        'lanes_deleted', 'tidy_lanes(100)',
        'rescued', 'rescue_expired_leases(1000)',
        'agents_refreshed', 'refresh_agent_status()',
        'approvals_expired', 'expire_approvals()',
        'holds_ended', 'end_orphaned_holds(1000)',
        'holds_expired', 'expire_holds(1000)',
        'tasks_resumed', 'resume_waiting_tasks()',
        'estimates_reckoned', 'refresh_estimates(5)',
        'requests_forgotten', 'forget_old_requests()'];
    v_done jsonb := '{}';
    v_failed jsonb := '{}';
    v_count int;
begin
    if not devart_private.try_lock(hashtext('devart maintain')) then
        return jsonb_build_object(
            'busy', true, 'seconds_since_success', devart_private.seconds_since_maintenance());
    end if;
    for v_step in 1 .. cardinality(v_steps) by 2 loop
        begin
            execute 'select devart_private.' || v_steps[v_step + 1] into v_count;
            v_done := v_done || jsonb_build_object(v_steps[v_step], v_count);
        exception
        -- Nothing else has room, either: whoever asked must know.
        when disk_full then raise;
        when others then
            v_failed := v_failed || jsonb_build_object(v_steps[v_step], sqlstate);
            raise log 'maintain(): % met %: %', v_steps[v_step + 1], sqlstate, sqlerrm;
        end;
    end loop;
    if v_failed <> '{}' then
        v_done := v_done || jsonb_build_object('failed', v_failed);
    else
        update devart_private.maintenance m set succeeded_at = clock_timestamp()
        where m.succeeded_at
            not between clock_timestamp() - interval '5 seconds' and clock_timestamp();
    end if;
    select count(*) into v_count from devart_private.put_off_rows;
    if v_count > 0 then
        v_done := v_done || jsonb_build_object('put_off', v_count);
    end if;
    return v_done || jsonb_build_object(
        'seconds_since_success', devart_private.seconds_since_maintenance());
end
$$;

-- Why the database cannot serve a program that was built for these files of sql/incremental; null
-- when it can. A newer schema serves as well: migrate comes first, then the programs one by one.
create or replace function devart_private.readiness(migrations text[])
returns text language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select case
        when pg_is_in_recovery() then 'the database is a standby, which only reads'
        when current_setting('transaction_read_only')::boolean then 'the database is read-only'
        when not exists (select from devart_private.migrations)
            or exists (
                select from unnest(readiness.migrations) as known (name)
                where known.name not in (select m.name from devart_private.migrations m))
            then 'the schema of the database is older than this program: run devart migrate'
    end
$$;

-- The same as yes or no, for whoever knows no file.
create or replace function devart_private.is_ready()
returns boolean language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select devart_private.readiness('{}') is null
$$;

-- Whether the disk has room for new pages: writes half a megabyte into a table of its own, so that
-- it waits for nobody (truncating one would, for whoever dumps the database), and takes it back.
-- For whoever was refused for want of room (53100) and wants to know whether that is over.
create or replace function devart_private.can_grow()
returns boolean language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    create table devart_private.disk_probe_now
        (like devart_private.disk_probe including storage);
    insert into devart_private.disk_probe_now (id, filler)
    select n, repeat('x', 7000) from generate_series(1, 64) n;
    raise sqlstate 'DV000';
exception
    when sqlstate 'DV000' then return true;
    when disk_full then return false;
end
$$;
