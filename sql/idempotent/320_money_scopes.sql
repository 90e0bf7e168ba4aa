-- Which limits apply to a charge, and locking them. Lock order: 310_money_windows.sql.

-- The budgets that apply to what an agent spends for a task, by id: the agent's own, and those of the task, its run and its
-- creator, for each task up the line of parents, so that nobody escapes a limit by creating children.
create or replace function devart_private.budgets_of(p_agent_id uuid, p_task_id uuid)
returns uuid[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive line (id, parent_task_id, workflow_run_id, created_by, depth) as (
        select t.id, t.parent_task_id, t.workflow_run_id, t.created_by, 1 from devart.tasks t where t.id = p_task_id
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

-- Locks budgets in id order, opens their windows where the last one ended, and gives them. p_patient false: only those
-- that nobody has locked.
create or replace function devart_private.lock_budgets(p_ids uuid[], p_patient boolean)
returns setof devart.budgets language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_locked uuid[];
    v_id uuid;
begin
    if p_patient then
        v_locked := array(select b.id from devart.budgets b where b.id = any (p_ids) order by b.id for no key update);
    else
        v_locked := array(select b.id from devart.budgets b where b.id = any (p_ids) order by b.id for no key update skip locked);
    end if;
    foreach v_id in array v_locked loop
        perform devart_private.open_budget_window(v_id);
    end loop;
    return query select b.* from devart.budgets b where b.id = any (v_locked) order by b.id;
end
$$;

-- The same for services.
create or replace function devart_private.lock_services(p_ids uuid[], p_patient boolean)
returns setof uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_locked uuid[];
    v_id uuid;
begin
    if p_patient then
        v_locked := array(select s.id from devart.service_registry s where s.id = any (p_ids) order by s.id for no key update);
    else
        v_locked := array(select s.id from devart.service_registry s where s.id = any (p_ids) order by s.id for no key update skip locked);
    end if;
    foreach v_id in array v_locked loop
        perform devart_private.open_service_window(v_id);
    end loop;
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

-- The most that could be charged to a service or one of its substitutes at this moment; infinity without a limit,
-- null when none is in service. A suspended one counts again as soon as its window has ended.
create or replace function devart_private.service_room(p_service_id uuid)
returns numeric language sql stable
set search_path = pg_catalog, pg_temp as $$
    select max(case
        when s.budget_usd is null or not s.hard_limit then 'infinity'::numeric
        when s.window_end <= clock_timestamp() then s.budget_usd
        else s.budget_usd - s.spent_usd - s.held_usd end)
    from devart_private.substitute_chain(p_service_id) c
    join devart.service_registry s on s.id = c.id
    where s.status = 'ACTIVE' or (s.status = 'SUSPENDED' and s.window_end <= clock_timestamp())
$$;

create or replace function devart_private.budget_room(p_budget_id uuid)
returns numeric language sql stable
set search_path = pg_catalog, pg_temp as $$
    select case
        when not b.hard_limit then 'infinity'::numeric
        when b.window_end <= clock_timestamp() then b.budget_usd
        else b.budget_usd - b.spent_usd - b.held_usd end
    from devart.budgets b where b.id = p_budget_id
$$;
