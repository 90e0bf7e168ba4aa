-- A task waits (BLOCKED) until everything it depends on is DONE.
-- Lock order: a finished dependency first, then the tasks that wait for it, by id.

-- Blocks a task that gets an unfinished dependency. The share lock makes a dependency that is just
-- being completed either visible as DONE here, or wait and see the new row in unblock_dependents.
create or replace function devart_private.task_dependencies_before_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_status devart.task_status;
begin
    if exists (
        with recursive upstream (task_id) as (
            select new.depends_on
            union
            select d.depends_on from devart.task_dependencies d
            join upstream u on u.task_id = d.task_id
        )
        select from upstream u where u.task_id = new.task_id
    ) then
        perform devart_private.refuse_argument('depends_on', 'must not form a cycle');
    end if;
    select t.status into v_status from devart.tasks t where t.id = new.depends_on for share;
    if v_status in ('FAILED', 'CANCELLED') then
        perform devart_private.refuse_argument(
            'depends_on', format('names a task that is %s', v_status));
    end if;
    if v_status <> 'DONE' then
        update devart.tasks t set status = 'BLOCKED'
        where t.id = new.task_id and t.status in ('TODO', 'SCHEDULED');
    end if;
    return new;
end
$$;

-- Lets a task go at once that was made BLOCKED and depends on finished tasks only.
create or replace function devart_private.task_dependencies_after_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.tasks t set status = 'TODO'
    where t.id in (select n.task_id from new_dependencies n)
      and t.status = 'BLOCKED'
      and not devart_private.has_open_dependencies(t.id);
    return null;
end
$$;

-- Lets the tasks go that waited for this one and for nothing else any more.
-- Two statements: the first locks, so that of two dependencies finishing at once the later one
-- sees the earlier one done.
create or replace function devart_private.unblock_dependents(p_task_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from devart.task_dependencies d where d.depends_on = p_task_id) then
        return;
    end if;
    perform t.id from devart.tasks t
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id)
      and t.status = 'BLOCKED'
    order by t.id
    for no key update;
    update devart.tasks t set status = 'TODO'
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id)
      and t.status = 'BLOCKED'
      and not devart_private.has_open_dependencies(t.id);
end
$$;

create or replace function devart_private.has_open_dependencies(p_task_id uuid)
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from devart.task_dependencies d
        join devart.tasks t on t.id = d.depends_on
        where d.task_id = p_task_id and t.status <> 'DONE'
    )
$$;

-- The status of a task that nothing holds up but what it depends on.
create or replace function devart_private.ready_status(p_task_id uuid)
returns devart.task_status language sql stable
set search_path = pg_catalog, pg_temp as $$
    select case when devart_private.has_open_dependencies(p_task_id) then 'BLOCKED' else 'TODO' end
        ::devart.task_status
$$;

-- What waits for a cancelled task can never run. (What waits for a FAILED one can: that may be
-- retried.)
create or replace function devart_private.cancel_dependents(p_task_id uuid)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    update devart.tasks t
    set status = 'CANCELLED', finished_at = now(),
        last_error = format('depends on cancelled task %s', p_task_id)
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id)
      and t.status in ('BLOCKED', 'AWAITING_APPROVAL')
$$;

create or replace trigger task_dependencies_before_insert before insert on devart.task_dependencies
    for each row execute function devart_private.task_dependencies_before_insert();

create or replace trigger task_dependencies_after_insert after insert on devart.task_dependencies
    referencing new table as new_dependencies
    for each statement execute function devart_private.task_dependencies_after_insert();
