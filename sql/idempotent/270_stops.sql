-- Stop and pause: one switch for everything, and one each for an agent, a service, a run and a
-- task. The gate that asks them is native (pg_devart/src/stops.rs); a run and a task stop what
-- descends from them, too.
--
-- Lock order: devart.stops (EXCLUSIVE) before anything else. Whoever begins something takes its
-- ROW SHARE as the last lock before committing, so a stop waits for commits only
-- (docs/decisions/stops.md).

-- Whoever changes stops by hand waits as the functions below do.
create or replace function devart_private.stops_before_change()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    lock table devart.stops in exclusive mode;
    return null;
end
$$;
create or replace trigger stops_before_change before insert or update or delete or truncate
    on devart.stops for each statement execute function devart_private.stops_before_change();
create or replace trigger stops_forget_cached after insert or update or delete or truncate
    on devart.stops for each statement execute function devart_private.forget_cached();
-- Always: also for what replication brings.
alter table devart.stops enable always trigger stops_before_change;
alter table devart.stops enable always trigger stops_forget_cached;
create or replace trigger stops_audit after insert or update or delete on devart.stops
    for each row execute function devart_private.audit();

-- The tasks and runs that stand above what an agent does for a task, the task and its run
-- included; without a task, above all that the agent has in hand (as budgets_of).
create or replace function devart_private.line_of_work(
    p_agent_id uuid, p_task_id uuid, out task_ids uuid[], out run_ids uuid[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    with recursive work (id, run_id) as (
        select t.id, t.workflow_run_id from devart.tasks t
        where t.id = p_task_id
        union all
        select t.id, t.workflow_run_id from devart.tasks t
        where p_task_id is null and t.agent_id = p_agent_id and t.status = 'IN_PROGRESS'
    ),
    line (continues_at, task_ids, run_ids) as (
        select l.continues_at, l.task_ids, l.run_ids
        from work w join devart_private.task_lines l on l.task_id = w.id
        union
        select l.continues_at, l.task_ids, l.run_ids
        from line n join devart_private.task_lines l on l.task_id = n.continues_at
    )
    select
        array(select w.id from work w union select u from line l, unnest(l.task_ids) u),
        array(select w.run_id from work w where w.run_id is not null
              union select u from line l, unnest(l.run_ids) u)
    into line_of_work.task_ids, line_of_work.run_ids;
end
$$;

-- What an agent is told with its heartbeat: the stops that apply to it, as a JSON array of scope,
-- reason and task_id; task_id null stops everything, another the task that it has in hand. At most
-- 1000.
create or replace function devart_private.stops_of_agent(p_agent_id uuid)
returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from devart.stops) then
        return '[]';
    end if;
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object('scope', a.scope, 'reason', a.reason, 'task_id', a.task_id)
                order by a.scope, a.task_id),
            '[]')
        from (
            select s.scope, s.reason, null::uuid as task_id from devart.stops s
            where s.scope = 'all' or s.scope = 'agent' and s.scope_id = p_agent_id
            union all
            select s.scope, s.reason, t.id
            from devart.tasks t
            cross join lateral devart_private.line_of_work(null, t.id) l
            join devart.stops s
                on s.scope = 'service' and s.scope_id = t.service_id
                or s.scope = 'run' and s.scope_id = any (l.run_ids)
                or s.scope = 'task' and s.scope_id = any (l.task_ids)
            where t.agent_id = p_agent_id and t.status = 'IN_PROGRESS'
            order by scope, task_id nulls first
            limit 1000
        ) a
    );
end
$$;

-- Refuses an id that names nothing that could be paused. Errors: P0002, 22023.
create or replace function devart_private.check_stoppable(p_scope devart.stop_scope, p_id uuid)
returns void language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if p_id is null then
        perform devart_private.refuse_argument('id', 'must be given');
    end if;
    if not (case p_scope
        when 'agent' then exists (select from devart.agents a where a.id = p_id)
        when 'service' then exists (select from devart.service_registry s where s.id = p_id)
        when 'run' then exists (select from devart.tasks t where t.workflow_run_id = p_id)
        when 'task' then exists (select from devart.tasks t where t.id = p_id)
    end) then
        perform devart_private.refuse_argument(
            'id', format('names no %s: %s', p_scope, p_id), 'P0002');
    end if;
end
$$;

-- What pause and resume call the scope. Errors: 22023.
create or replace function devart_private.stop_scope_of(p_kind text)
returns devart.stop_scope language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    if p_kind is null or p_kind not in ('agent', 'service', 'run', 'task') then
        perform devart_private.refuse_argument('kind', 'must be agent, service, run or task');
    end if;
    return p_kind::devart.stop_scope;
end
$$;

-- Tells people that something was stopped or resumed.
create or replace function devart_private.alert_stop(p_kind text, p_stop devart.stops)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.alert(p_kind, 'stop', jsonb_build_object(
        'scope', p_stop.scope, 'scope_id', p_stop.scope_id, 'reason', p_stop.reason,
        'actor', devart_private.actor(),
        'name', case p_stop.scope
            when 'agent' then (select a.name from devart.agents a where a.id = p_stop.scope_id)
            when 'service' then
                (select s.name from devart.service_registry s where s.id = p_stop.scope_id)
            when 'task' then
                (select left(t.title, 200) from devart.tasks t where t.id = p_stop.scope_id)
        end))
$$;

-- Puts a stop in force; for one that is in force already only its reason changes, if one is given.
create or replace function devart_private.put_stop(
    p_scope devart.stop_scope, p_id uuid, p_reason text
)
returns devart.stops language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_stop devart.stops;
begin
    perform devart_private.check_length('reason', p_reason, 1000);
    lock table devart.stops in exclusive mode;
    update devart.stops s
    set reason = p_reason, stopped_by = devart_private.actor(), stopped_at = now()
    where s.scope = p_scope and s.scope_id is not distinct from p_id
      and p_reason is not null and s.reason is distinct from p_reason;
    insert into devart.stops (scope, scope_id, reason, stopped_by)
    values (p_scope, p_id, p_reason, devart_private.actor())
    on conflict (scope, coalesce(scope_id, '00000000-0000-0000-0000-000000000000')) do nothing
    returning * into v_stop;
    if found then
        perform devart_private.alert_stop('stopped', v_stop);
        return v_stop;
    end if;
    select s.* into v_stop from devart.stops s
    where s.scope = p_scope and s.scope_id is not distinct from p_id;
    return v_stop;
end
$$;

-- Ends a stop. Whether there was one.
create or replace function devart_private.end_stop(p_scope devart.stop_scope, p_id uuid)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_stop devart.stops;
begin
    lock table devart.stops in exclusive mode;
    delete from devart.stops s
    where s.scope = p_scope and s.scope_id is not distinct from p_id
    returning s.* into v_stop;
    if not found then
        return false;
    end if;
    perform devart_private.alert_stop('resumed', v_stop);
    perform devart_private.wake('tasks');
    return true;
end
$$;

-- Stops everything: from the commit on nothing is claimed, started, reserved, charged, extended or
-- dispatched. What was dispatched may settle, what is in hand may complete. Agents are told with
-- their next heartbeat. Repeated: a new reason. For supervisors.
-- Errors: 22023 reason is missing, empty or longer than 1,000 characters, 42501.
create or replace function devart.emergency_stop(reason text)
returns devart.stops language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.require_supervisor();
    if emergency_stop.reason is null then
        perform devart_private.refuse_argument('reason', 'must be given');
    end if;
    return devart_private.put_stop('all', null, emergency_stop.reason);
end
$$;

-- Ends the stop of everything; what is paused by itself stays so. Whether there was one.
-- Errors: 42501.
create or replace function devart.resume_work()
returns boolean language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.require_supervisor();
    return devart_private.end_stop('all', null);
end
$$;

-- As emergency_stop, for one agent, service, run or task (kind); a run and a task pause what
-- descends from them, too, and a service is not billed in place of another. For supervisors.
-- Errors: P0002 nothing of that kind has this id, 22023 kind, id or reason, 42501.
create or replace function devart.pause(kind text, id uuid, reason text default null)
returns devart.stops language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_scope devart.stop_scope;
begin
    perform devart_private.require_supervisor();
    v_scope := devart_private.stop_scope_of(pause.kind);
    perform devart_private.check_stoppable(v_scope, pause.id);
    return devart_private.put_stop(v_scope, pause.id, pause.reason);
end
$$;

-- Ends a pause. Whether there was one; also of what is deleted by now.
-- Errors: 22023 kind or id, 42501.
create or replace function devart.resume(kind text, id uuid)
returns boolean language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_scope devart.stop_scope;
begin
    perform devart_private.require_supervisor();
    v_scope := devart_private.stop_scope_of(resume.kind);
    if resume.id is null then
        perform devart_private.refuse_argument('id', 'must be given');
    end if;
    return devart_private.end_stop(v_scope, resume.id);
end
$$;
