-- A task whose money was refused waits for money or for a person, outside of the queue; it does not
-- fail. It goes on by itself when the budget has room again, or with a decision on its approval
-- (431_approval_budget.sql).

-- Lets a task wait, and asks people. p_verdict: service_id, scope_id, needed_usd, reason,
-- remaining_usd, as the gate answered. p_never_started: a claim found out before handing it out, so
-- the attempt does not count. Returns the approval's id. It has no expiry: a budget of a month may
-- take a month to come back.
create or replace function devart_private.park_task(
    p_task_id uuid, p_agent_id uuid, p_verdict jsonb, p_never_started boolean
)
returns uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_wait devart_private.budget_waits;
begin
    insert into devart_private.budget_waits as w (
        task_id, scope_id, service_id, needed_usd, agent_id
    )
    values (p_task_id, (p_verdict ->> 'scope_id')::uuid, (p_verdict ->> 'service_id')::uuid,
            (p_verdict ->> 'needed_usd')::numeric, p_agent_id)
    on conflict (task_id) do update
        set scope_id = excluded.scope_id, service_id = excluded.service_id,
            needed_usd = excluded.needed_usd, agent_id = excluded.agent_id
    returning w.* into v_wait;
    -- After what it waits for, without which it would ask people about the task itself.
    update devart.tasks t
    set status = 'AWAITING_APPROVAL', agent_id = null, lease_token = null, lease_expires_at = null,
        attempt = t.attempt - p_never_started::int,
        last_error = format('waits for budget: %s', p_verdict ->> 'reason')
    where t.id = p_task_id;
    return devart_private.request_approval(
        'budget', p_task_id, devart_private.budget_digest(v_wait), p_agent_id,
        p_detail => p_verdict);
end
$$;

-- Called by the history (pg_devart/src/tasks/history.rs) for each task that leaves
-- AWAITING_APPROVAL, however: nothing is asked any more. An approval that somebody decides just now
-- is left to them.
create or replace function devart_private.end_budget_wait(p_task_id uuid)
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    delete from devart_private.budget_waits w where w.task_id = p_task_id;
    if found then
        update devart.approvals a set status = 'EXPIRED', decided_at = now()
        where a.id in (
            select p.id from devart.approvals p
            where p.subject = 'budget' and p.subject_id = p_task_id and p.status = 'PENDING'
            for update skip locked);
    end if;
end
$$;

create or replace function devart_private.tasks_after_delete()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.end_budget_wait(old.id);
    perform devart_private.end_holds_of_task(old.id);
    -- Unless the lines of others go on there.
    delete from devart_private.task_lines l
    where l.task_id = old.id
      and not exists (select from devart_private.task_lines o where o.continues_at = old.id);
    return null;
end
$$;

create or replace trigger tasks_after_delete after delete on devart.tasks
    for each row execute function devart_private.tasks_after_delete();

-- Lets a waiting task go. A task that somebody has locked is left alone: they decide about it.
-- Returns whether it went: one that waits for people, too, stays (pg_devart/src/tasks/runnable.rs).
create or replace function devart_private.resume_task(p_task_id uuid)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_status devart.task_status;
begin
    update devart.tasks t
    set status = 'TODO'
    where t.id in (
        select l.id from devart.tasks l
        where l.id = p_task_id and l.status = 'AWAITING_APPROVAL'
        for no key update skip locked)
    returning t.status into v_status;
    return coalesce(v_status <> 'AWAITING_APPROVAL', false);
end
$$;

-- An edit of what a task costs voids what people granted it, which was for another service or
-- amount, and makes the question of a waiting one moot: it tries again, and asks again if need be.
create or replace function devart_private.tasks_after_cost_edit()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_granted uuid[];
begin
    v_granted := array(
        select h.id from devart.holds h
        where h.task_id = new.id and h.status = 'HELD' and h.follows_lease and h.attempt is null
          and not h.dispatched
        for no key update);
    if v_granted <> '{}' then
        perform devart_private.release_holds(v_granted, 'RELEASED');
    end if;
    if new.status = 'AWAITING_APPROVAL'
        and exists (select from devart_private.budget_waits w where w.task_id = new.id) then
        perform devart_private.resume_task(new.id);
    end if;
    return null;
end
$$;

create or replace trigger tasks_after_cost_edit after update of service_id, estimated_cost_usd
    on devart.tasks
    for each row when (
        (new.service_id, new.estimated_cost_usd)
        is distinct from (old.service_id, old.estimated_cost_usd)
    )
    execute function devart_private.tasks_after_cost_edit();

-- Lets these tasks go that wait for money. Returns how many went.
create or replace function devart_private.resume_tasks(p_ids uuid[])
returns int language sql
set search_path = pg_catalog, pg_temp as $$
    select count(*) filter (where devart_private.resume_task(u.id))::int
    from unnest(p_ids) as u (id)
$$;

-- Of the tasks that wait for p_scope_id (a service or a budgets row), lets those go whose money is
-- there: by priority, then by waiting time, each that still fits. Looks at a hundred at most of
-- those that fit by themselves. One that meets an error is put off: whoever brought the money has
-- nothing to do with it.
-- Returns how many went.
create or replace function devart_private.wake_waiting_for(p_scope_id uuid, p_room_usd numeric)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_wait record;
    v_put_off uuid[] := devart_private.put_off('resume_tasks');
    v_count int := 0;
begin
    for v_wait in
        select w.task_id, w.needed_usd
        from devart_private.budget_waits w join devart.tasks t on t.id = w.task_id
        where w.scope_id = p_scope_id and w.needed_usd <= p_room_usd
          and w.task_id <> all (v_put_off)
        order by t.priority, w.waiting_since
        limit 100
    loop
        if v_wait.needed_usd <= p_room_usd
            and devart_private.do_rows('resume_tasks', array[v_wait.task_id]) > 0 then
            p_room_usd := p_room_usd - v_wait.needed_usd;
            v_count := v_count + 1;
        end if;
    end loop;
    return v_count;
end
$$;

-- Money came back to p_scope_id, a service or a budgets row. Tasks may wait for it itself or, when
-- it is a service, for one that it stands in for.
create or replace function devart_private.wake_waiting(p_scope_id uuid)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_scope_id uuid;
    v_count int := 0;
begin
    if not exists (select from devart_private.budget_waits) then
        return 0;
    end if;
    for v_scope_id in
        with recursive above (id, depth) as (
            select p_scope_id, 0
            union
            select s.id, a.depth + 1
            from above a join devart.service_registry s on s.substitute_service_id = a.id
            where a.depth < 5
        )
        select a.id from above a
    loop
        v_count := v_count
            + devart_private.wake_waiting_for(v_scope_id, devart_private.room_of(v_scope_id));
    end loop;
    return v_count;
end
$$;

-- What is left of a service (with its substitutes) or of a budgets row; infinity without a limit,
-- null when nothing can pay.
create or replace function devart_private.room_of(p_scope_id uuid)
returns numeric language sql stable
set search_path = pg_catalog, pg_temp as $$
    select case
        when exists (select from devart.service_registry s where s.id = p_scope_id)
            then devart_private.service_room(p_scope_id)
        -- A budget that was deleted refuses nothing any more.
        else coalesce((select devart_private.limit_room(devart_private.limit_of(b))
                       from devart.budgets b where b.id = p_scope_id), 'infinity') end
$$;

drop function if exists devart_private.budget_room(uuid);

-- Opens the windows of these budgets that have ended. Returns how many were looked at.
create or replace function devart_private.open_budget_windows(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.lock_budgets(p_ids, false);
    return cardinality(p_ids);
end
$$;

-- The same of these services.
create or replace function devart_private.open_service_windows(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.lock_services(p_ids, false);
    return cardinality(p_ids);
end
$$;

-- Lets go what waits for these services and budgets and can be paid. Returns how many went.
create or replace function devart_private.resume_waiting_for(p_scope_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
    v_count int := 0;
begin
    foreach v_id in array p_scope_ids loop
        v_count := v_count + devart_private.wake_waiting_for(v_id, devart_private.room_of(v_id));
    end loop;
    return v_count;
end
$$;

-- Opens windows that have ended where somebody waits for that, and lets go what can be paid: what
-- no call did, because the one that brought the money back could not see the task that was just
-- beginning to wait. A hundred limits at a time, by lot: those that cannot pay hide no other.
create or replace function devart_private.resume_waiting_tasks()
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[];
begin
    v_put_off := devart_private.put_off('open_budget_windows');
    perform devart_private.do_rows('open_budget_windows', array(
        select b.id from devart.budgets b
        where b.window_end <= clock_timestamp() and b.id <> all (v_put_off)
          and exists (select from devart_private.budget_waits w where w.scope_id = b.id)
        order by b.id));
    v_put_off := devart_private.put_off('open_service_windows');
    perform devart_private.do_rows('open_service_windows', array(
        select s.id from devart.service_registry s
        where s.window_end <= clock_timestamp() and s.id <> all (v_put_off)
          and (s.status = 'SUSPENDED' or exists (
              select from devart_private.budget_waits w where w.scope_id = s.id))
        order by s.id));
    v_put_off := devart_private.put_off('resume_waiting_for');
    return devart_private.do_rows('resume_waiting_for', array(
        select w.scope_id from devart_private.budget_waits w
        where w.scope_id <> all (v_put_off)
        group by w.scope_id order by random() limit 100));
end
$$;

-- At the end of the transaction that changed a limit, when it is known what else it did with the
-- money.
create or replace function devart_private.wake_after_change()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.wake_waiting(new.id);
    return null;
end
$$;

drop trigger if exists service_registry_wake on devart.service_registry;
create constraint trigger service_registry_wake
    after update of budget_usd, hard_limit, period, time_zone, status, substitute_service_id
    on devart.service_registry
    deferrable initially deferred for each row when (new.status <> 'DISABLED')
    execute function devart_private.wake_after_change();

drop trigger if exists budgets_wake on devart.budgets;
create constraint trigger budgets_wake
    after update of budget_usd, hard_limit, period, time_zone on devart.budgets
    deferrable initially deferred for each row
    execute function devart_private.wake_after_change();
