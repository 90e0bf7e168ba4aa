-- Which limits apply to a charge, and locking them. Lock order: 310_money_windows.sql.

-- Notes from whom these tasks descend (devart_private.task_lines). Called by the history
-- (pg_devart/src/tasks/history.rs) for new tasks that have a parent. Ancestors whose own line is
-- missing get it first.
create or replace function devart_private.begin_task_lines(p_task_ids uuid[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_wanted uuid[] := p_task_ids;
    v_missing int := cardinality(p_task_ids);
    v_count int;
begin
    while v_missing > 0 loop
        insert into devart_private.task_lines (
            task_id, continues_at, task_ids, run_ids, creator_ids)
        select t.id, c.continues_at, c.task_ids || p.id,
               devart_private.with_member(c.run_ids, p.workflow_run_id),
               devart_private.with_member(c.creator_ids, p.created_by)
        from devart.tasks t
        join devart.tasks p on p.id = t.parent_task_id
        left join devart_private.task_lines l on l.task_id = p.id
        cross join lateral (
            select l.continues_at, l.task_ids, l.run_ids, l.creator_ids
            where cardinality(l.task_ids) < 256
            union all
            select case when l.task_id is not null then p.id end, '{}', '{}', '{}'
            where cardinality(l.task_ids) >= 256 or l.task_id is null
        ) c
        where t.id = any (v_wanted) and (l.task_id is not null or p.parent_task_id is null)
        on conflict do nothing;
        get diagnostics v_count = row_count;
        v_missing := v_missing - v_count;
        if v_count = 0 then
            exit when v_wanted <> p_task_ids;
            v_wanted := devart_private.tasks_without_line(p_task_ids);
            exit when v_wanted = p_task_ids;
            v_missing := cardinality(v_wanted);
        end if;
    end loop;
end
$$;

-- Of these tasks and what they descend from, those whose line is missing.
create or replace function devart_private.tasks_without_line(p_task_ids uuid[])
returns uuid[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive above (id) as (
        select unnest(p_task_ids)
        union
        select t.parent_task_id from above a join devart.tasks t on t.id = a.id
        where t.parent_task_id is not null
          and not exists (select from devart_private.task_lines l where l.task_id = t.id)
    )
    select coalesce(array_agg(t.id), '{}') from above a join devart.tasks t on t.id = a.id
    where t.parent_task_id is not null
      and not exists (select from devart_private.task_lines l where l.task_id = t.id)
$$;

-- The set with one more member, unless that is null or in it already.
create or replace function devart_private.with_member(p_set uuid[], p_member uuid)
returns uuid[] language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select case when p_member is null or p_member = any (p_set) then p_set
                else p_set || p_member end
$$;

-- Tasks that are older than the table of lines.
select devart_private.begin_task_lines(array(
    select t.id from devart.tasks t where t.parent_task_id is not null))
where not exists (select from devart_private.task_lines);

-- The budgets that apply to what an agent spends for a task, by id: the agent's own, and those of
-- the task, its run and its creator, and of all tasks that it descends from, so that nobody escapes
-- a limit by creating children. An agent that names no task works on those that it has in hand: the
-- budgets of all of them apply, so that nobody escapes a limit by naming nothing.
create or replace function devart_private.budgets_of(p_agent_id uuid, p_task_id uuid)
returns uuid[] language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return (
        with recursive work (id, workflow_run_id, created_by) as (
            select t.id, t.workflow_run_id, t.created_by from devart.tasks t
            where t.id = p_task_id
            union all
            select t.id, t.workflow_run_id, t.created_by from devart.tasks t
            where p_task_id is null and t.agent_id = p_agent_id and t.status = 'IN_PROGRESS'
        ),
        line (continues_at, task_ids, run_ids, creator_ids) as (
            select l.continues_at, l.task_ids, l.run_ids, l.creator_ids
            from work w join devart_private.task_lines l on l.task_id = w.id
            union
            select l.continues_at, l.task_ids, l.run_ids, l.creator_ids
            from line n join devart_private.task_lines l on l.task_id = n.continues_at
        ),
        scopes (scope, scope_id) as (
            select 'agent'::devart.budget_scope, p_agent_id
            union select 'task', p_task_id
            union select 'task', w.id from work w
            union select 'run', w.workflow_run_id from work w
            union select 'user', w.created_by from work w
            union select 'task', u from line l, unnest(l.task_ids) u
            union select 'run', u from line l, unnest(l.run_ids) u
            union select 'user', u from line l, unnest(l.creator_ids) u
        )
        select coalesce(array_agg(b.id order by b.id), '{}')
        from scopes s join devart.budgets b on b.scope = s.scope and b.scope_id = s.scope_id
    );
end
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

