-- Which limits apply to a charge, and locking them. Lock order: 310_money_windows.sql.

-- The budgets that apply to what an agent spends for a task, by id: the agent's own, and those of
-- the task, its run and its creator, for each task up the line of parents, so that nobody escapes a
-- limit by creating children.
create or replace function devart_private.budgets_of(p_agent_id uuid, p_task_id uuid)
returns uuid[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive line (id, parent_task_id, workflow_run_id, created_by, depth) as (
        select t.id, t.parent_task_id, t.workflow_run_id, t.created_by, 1 from devart.tasks t
        where t.id = p_task_id
        union all
        select t.id, t.parent_task_id, t.workflow_run_id, t.created_by, l.depth + 1
        from line l join devart.tasks t on t.id = l.parent_task_id
        where l.depth < 100
    ),
    scopes (scope, scope_id) as (
        select 'agent'::devart.budget_scope, p_agent_id
        union select 'task', p_task_id
        union select 'task', l.id from line l
        union select 'run', l.workflow_run_id from line l
        union select 'user', l.created_by from line l
    )
    select coalesce(array_agg(b.id order by b.id), '{}')
    from scopes s join devart.budgets b on b.scope = s.scope and b.scope_id = s.scope_id
$$;

-- Locks budgets in id order, opens their windows where the last one ended, and gives them.
-- p_patient false: only those that nobody has locked.
create or replace function devart_private.lock_budgets(p_ids uuid[], p_patient boolean)
returns setof devart.budgets language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_locked uuid[];
begin
    if p_patient then
        v_locked := array(
            select b.id from devart.budgets b where b.id = any (p_ids)
            order by b.id for no key update);
    else
        v_locked := array(
            select b.id from devart.budgets b where b.id = any (p_ids)
            order by b.id for no key update skip locked);
    end if;
    perform devart_private.open_window(devart_private.limit_of(b)) from devart.budgets b
    where b.id = any (v_locked) and b.window_end <= clock_timestamp();
    return query select b.* from devart.budgets b where b.id = any (v_locked) order by b.id;
end
$$;

-- The same for services.
create or replace function devart_private.lock_services(p_ids uuid[], p_patient boolean)
returns setof uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_locked uuid[];
begin
    if p_patient then
        v_locked := array(
            select s.id from devart.service_registry s where s.id = any (p_ids)
            order by s.id for no key update);
    else
        v_locked := array(
            select s.id from devart.service_registry s where s.id = any (p_ids)
            order by s.id for no key update skip locked);
    end if;
    perform devart_private.open_window(devart_private.limit_of(s)) from devart.service_registry s
    where s.id = any (v_locked) and s.window_end <= clock_timestamp();
    return query select unnest(v_locked);
end
$$;

-- A service and its substitutes, in the order in which they are tried.
create or replace function devart_private.substitute_chain(p_service_id uuid)
returns table (id uuid, "position" int) language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive chain (id, "position") as (
        select p_service_id, 0
        union all
        select s.substitute_service_id, c."position" + 1
        from chain c join devart.service_registry s on s.id = c.id
        where s.substitute_service_id is not null and c."position" < 5
    )
    select c.id, c."position" from chain c
$$;

-- What is left of a limit; infinity where there is none. All of it as soon as its window has ended.
create or replace function devart_private.limit_room(p_limit devart_private.money_limit)
returns numeric language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return case
        when p_limit.budget_usd is null or not p_limit.hard_limit then 'infinity'
        when p_limit.window_end <= clock_timestamp() then p_limit.budget_usd
        else p_limit.budget_usd - p_limit.spent_usd - p_limit.held_usd end;
end
$$;

-- The most that could be charged to a service or one of its substitutes at this moment; null when
-- none is in service. A suspended one counts again as soon as its window has ended.
create or replace function devart_private.service_room(p_service_id uuid)
returns numeric language sql stable
set search_path = pg_catalog, pg_temp as $$
    select max(devart_private.limit_room(devart_private.limit_of(s)))
    from devart_private.substitute_chain(p_service_id) c
    join devart.service_registry s on s.id = c.id
    where s.status = 'ACTIVE' or (s.status = 'SUSPENDED' and s.window_end <= clock_timestamp())
$$;

