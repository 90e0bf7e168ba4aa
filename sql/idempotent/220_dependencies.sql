-- A task waits (BLOCKED) until everything it depends on is DONE: tasks.open_dependencies counts
-- what is not. What depends on a cancelled or deleted task can never run and is cancelled too; what
-- depends on a FAILED one waits, since that may be retried.
-- Lock order: a dependency first, then the tasks that wait for it, by id.
--
-- Planned for single look-ups: sessions keep plans, also those made when the tables were small, and
-- a chain of ten thousand would then be walked by ten thousand scans.

-- Refuses what may not be depended on. The share lock makes a dependency that is just being
-- completed either visible as DONE here, or wait and see the new row in unblock_dependents.
-- Errors: 23503 no such task, or not for this agent's eyes, 22023 a circle, or FAILED or CANCELLED,
-- 42501 a caller who may see no task.
create or replace function devart_private.task_dependencies_before_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_status devart.task_status;
begin
    -- Policies are asked only after this, and what is refused here would tell of the task.
    if devart.my_agent_id() is null and devart_private.is_api_caller()
        and devart.get_my_role() is null then
        raise exception 'only who may see a task may depend on it' using errcode = '42501';
    end if;
    -- A task that an agent cannot see must look like one that does not exist.
    if devart.my_agent_id() is null or devart.is_my_task(new.depends_on) then
        select t.status into v_status from devart.tasks t where t.id = new.depends_on for share;
    end if;
    if v_status is null then
        perform devart_private.refuse_argument(
            'depends_on', format('names no task: %s', new.depends_on), '23503');
    end if;
    perform from devart.tasks t where t.id = new.task_id for no key update;
    perform devart_private.refuse_circle(new.task_id, new.depends_on);
    if v_status in ('FAILED', 'CANCELLED') then
        perform devart_private.refuse_argument(
            'depends_on', format('names a task that is %s', v_status));
    end if;
    return new;
end
$$;

-- Refuses a dependency that closes a circle. A task on which nothing depends closes none: so making
-- a chain costs each task the same. The caller has the task locked, so that nothing begins to
-- depend on it. The others come here one by one: opposite halves of a circle, made at once, would
-- not see each other. A transaction that sees the past cannot know what has begun to depend on a
-- task since: there only a new task gets dependencies. Errors: 22023, 40001, 0A000.
create or replace function devart_private.refuse_circle(p_task_id uuid, p_depends_on uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' and not exists (
        select from devart.tasks t where t.id = p_task_id and t.created_at = now()
    ) then
        raise exception 'an existing task gets dependencies only under READ COMMITTED'
            using errcode = '0A000';
    end if;
    if p_task_id <> p_depends_on
       and not exists (
           select from devart.task_dependencies d where d.depends_on = p_task_id) then
        return;
    end if;
    update devart_private.dependency_order o set changes = o.changes + 1;
    if exists (
        with recursive upstream (task_id) as (
            select p_depends_on
            union
            select d.depends_on from devart.task_dependencies d
            join upstream u on u.task_id = d.task_id
        )
        select from upstream u where u.task_id = p_task_id
    ) then
        perform devart_private.refuse_argument('depends_on', 'must not form a cycle');
    end if;
end
$$;

-- Counts what is still open, and blocks or lets go accordingly (pg_devart/src/tasks/runnable.rs).
create or replace function devart_private.task_dependencies_after_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    update devart.tasks t
    set open_dependencies = t.open_dependencies + n.open,
        status = case when t.status = 'BLOCKED' and t.open_dependencies + n.open = 0 then 'TODO'
                      when t.status in ('TODO', 'SCHEDULED') and n.open > 0 then 'BLOCKED'
                      else t.status end::devart.task_status
    from (
        select d.task_id, count(*) filter (where p.status <> 'DONE')::int as open
        from new_dependencies d join devart.tasks p on p.id = d.depends_on
        group by d.task_id
    ) n
    where t.id = n.task_id and (n.open > 0 or t.status = 'BLOCKED');
    return null;
end
$$;

-- Lets the tasks go that waited for this one and for nothing else any more.
-- Each of them is written, also when it waits on: of two dependencies finishing at once the later
-- one sees the earlier one done, or fails with 40001. Two statements: the first locks in order.
create or replace function devart_private.unblock_dependents(p_task_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    perform t.id from devart.tasks t
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id)
    order by t.id
    for no key update;
    update devart.tasks t
    set open_dependencies = greatest(t.open_dependencies - 1, 0),
        status = case when t.status = 'BLOCKED' and t.open_dependencies <= 1 then 'TODO'
                      else t.status end::devart.task_status
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id);
end
$$;

-- Locks these tasks under their leases, and then all that waits for any of them, each by id: tasks
-- that are completed together lock in the same order as others that are, whatever depends on what.
-- One by one, as unblock_dependents does it for each, two batches would wait for each other.
create or replace function devart_private.lock_to_complete(
    p_task_ids uuid[], p_lease_tokens uuid[], p_agent_id uuid
)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_task_ids uuid[] := array(
        select t.id
        from unnest(p_task_ids, p_lease_tokens) as f (task_id, lease_token)
        join devart.tasks t on t.id = f.task_id and t.lease_token = f.lease_token
        where t.status = 'IN_PROGRESS' and (p_agent_id is null or t.agent_id = p_agent_id)
        order by t.id
        for no key update of t);
begin
    perform t.id from devart.tasks t
    where t.id in (
        select d.task_id from devart.task_dependencies d where d.depends_on = any (v_task_ids))
    order by t.id
    for no key update;
end
$$;

-- What depends on a task that is DONE no more waits for it again: unblock_dependents will count it
-- down once more. One that somebody works on goes on.
create or replace function devart_private.block_dependents(p_task_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    perform t.id from devart.tasks t
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id)
    order by t.id
    for no key update;
    update devart.tasks t
    set open_dependencies = least(t.open_dependencies, 999999999) + 1,
        status = case when t.status in ('TODO', 'SCHEDULED') then 'BLOCKED'
                      else t.status end::devart.task_status
    where t.id in (select d.task_id from devart.task_dependencies d where d.depends_on = p_task_id);
end
$$;

drop function if exists devart_private.has_open_dependencies(uuid);
drop function if exists devart_private.ready_status(uuid);

-- Whether the task waits for others or for people. A function, lest a plan begins with all that do.
create or replace function devart_private.waits(p_task_id uuid)
returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return (select t.status in ('BLOCKED', 'AWAITING_APPROVAL') from devart.tasks t
            where t.id = p_task_id);
end
$$;

-- Cancels what waits for this task, directly or not. All at once: those that are cancelled look for
-- what waits for them, too, and find nothing, however long the chain.
create or replace function devart_private.cancel_dependents(p_task_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_waiting uuid[];
begin
    v_waiting := array(
        with recursive waiting (id) as (
            select d.task_id
            from devart.task_dependencies d
            where d.depends_on = p_task_id and devart_private.waits(d.task_id)
            union
            select d.task_id
            from waiting w join devart.task_dependencies d on d.depends_on = w.id
            where devart_private.waits(d.task_id)
        )
        select w.id from waiting w);
    if v_waiting = '{}' then
        return;
    end if;
    perform t.id from devart.tasks t where t.id = any (v_waiting) order by t.id for no key update;
    update devart.tasks t
    set status = 'CANCELLED', finished_at = now(),
        last_error = format('depends on task %s, which was cancelled', p_task_id)
    where t.id = any (v_waiting) and t.status in ('BLOCKED', 'AWAITING_APPROVAL');
end
$$;

-- The task of those that this one depends on that is CANCELLED, so that this one can never run.
create or replace function devart_private.cancelled_dependency(p_task_id uuid)
returns uuid language sql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
    select d.depends_on
    from devart.task_dependencies d
    where d.task_id = p_task_id
      and (select p.status from devart.tasks p where p.id = d.depends_on) = 'CANCELLED'
    limit 1
$$;

-- A task begins to wait, after a retry or when its worker gave it back, and what it waits for may
-- have been cancelled meanwhile. The share locks let a cancellation be seen here, or see this.
create or replace function devart_private.cancel_if_hopeless(p_task_id uuid)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_cancelled uuid;
begin
    perform p.id from devart.tasks p
    where p.id in (select d.depends_on from devart.task_dependencies d where d.task_id = p_task_id)
      and p.status <> 'DONE'
    order by p.id for share;
    v_cancelled := devart_private.cancelled_dependency(p_task_id);
    if v_cancelled is not null then
        update devart.tasks t
        set status = 'CANCELLED', finished_at = now(),
            last_error = format('depends on task %s, which was cancelled', v_cancelled)
        where t.id = p_task_id and t.status = 'BLOCKED';
    end if;
end
$$;

-- Counts anew what is open. A dependency that was deleted before it was DONE counts as failed for
-- good: what waited for it is cancelled. One that was merely taken away is waited for no more.
create or replace function devart_private.task_dependencies_after_delete()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    if not exists (select from old_dependencies) then
        return null;
    end if;
    perform t.id from devart.tasks t
    where t.id in (select o.task_id from old_dependencies o)
    order by t.id for no key update;
    update devart.tasks t
    set open_dependencies = n.open,
        status = case when t.status not in ('BLOCKED', 'AWAITING_APPROVAL') then t.status
                      when n.is_lost and t.open_dependencies > n.open then 'CANCELLED'
                      when t.status = 'BLOCKED' and n.open = 0 then 'TODO'
                      else t.status end::devart.task_status,
        finished_at = case when n.is_lost and t.open_dependencies > n.open
                                and t.status in ('BLOCKED', 'AWAITING_APPROVAL') then now()
                           else t.finished_at end,
        last_error = case when n.is_lost and t.open_dependencies > n.open
                               and t.status in ('BLOCKED', 'AWAITING_APPROVAL')
                              then 'depends on a task that was deleted'
                          else t.last_error end
    from (
        select o.task_id,
            bool_or(not exists (select from devart.tasks p where p.id = o.depends_on)) as is_lost,
            (select count(*)::int
             from devart.task_dependencies d join devart.tasks p on p.id = d.depends_on
             where d.task_id = o.task_id and p.status <> 'DONE') as open
        from old_dependencies o
        group by o.task_id
    ) n
    where t.id = n.task_id and t.open_dependencies <> n.open;
    return null;
end
$$;

create or replace trigger task_dependencies_before_insert before insert on devart.task_dependencies
    for each row execute function devart_private.task_dependencies_before_insert();

create or replace trigger task_dependencies_after_insert after insert on devart.task_dependencies
    referencing new table as new_dependencies
    for each statement execute function devart_private.task_dependencies_after_insert();

create or replace trigger task_dependencies_after_delete after delete on devart.task_dependencies
    referencing old table as old_dependencies
    for each statement execute function devart_private.task_dependencies_after_delete();
