-- A provider says when to come back (429 with Retry-After, a quota's reset): until then nobody
-- works with its service. A task that waits for that is SCHEDULED, so that no claim looks at it; it
-- gets there when it would come into its queue (pg_devart/src/tasks/runnable.rs), when a claim
-- finds it, or by maintain(), in batches.

-- Sessions keep who is deferred (pg_devart/src/money/deferrals.rs). By column: charges touch none
-- of these. Always: also for what replication brings.
create or replace trigger service_registry_forget_cached_update
    after update of deferred_until, substitute_service_id on devart.service_registry
    for each statement execute function devart_private.forget_cached();
create or replace trigger service_registry_forget_cached
    after insert or delete on devart.service_registry
    for each statement execute function devart_private.forget_cached();
alter table devart.service_registry
    enable always trigger service_registry_forget_cached_update,
    enable always trigger service_registry_forget_cached;

-- This service and those that it stands in for, however far away.
create or replace function devart_private.services_served_by(p_service_id uuid)
returns setof uuid language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive above (id, depth) as (
        select p_service_id, 0
        union
        select s.id, a.depth + 1
        from above a join devart.service_registry s on s.substitute_service_id = a.id
        where a.depth < 5
    )
    select distinct a.id from above a
$$;

-- Takes these tasks out of their queues until their services serve again. Returns how many.
create or replace function devart_private.defer_tasks(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.tasks t
    set status = 'SCHEDULED', run_at = devart_private.service_waits_until(t.service_id)
    where t.id = any (p_ids) and t.status = 'TODO'
      and devart_private.service_waits_until(t.service_id) is not null;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- The same of those that are still in their queues, so many at most.
create or replace function devart_private.defer_waiting_tasks(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('defer_tasks');
begin
    return devart_private.do_rows('defer_tasks', array(
        select w.id from devart.service_registry s
        cross join lateral (
            select t.id from devart.tasks t
            where t.service_id = s.id and t.status = 'TODO' and t.id <> all (v_put_off)
            limit p_limit
            for no key update skip locked) w
        where s.deferred_until > clock_timestamp()
          and devart_private.service_waits_until(s.id) is not null
        limit p_limit));
end
$$;

-- Lets these tasks go that were put off. Returns how many.
create or replace function devart_private.resume_deferred(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.tasks t set status = 'TODO', run_at = now()
    where t.id = any (p_ids) and t.status = 'SCHEDULED';
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Lets tasks go whose deferral ended before its time, so many at most. Those that somebody has
-- locked come with the next call.
create or replace function devart_private.resume_deferred_tasks(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('resume_deferred');
    v_count int;
begin
    delete from devart_private.deferral_times e where e.held_until <= now();
    if not exists (select from devart_private.deferral_times e where e.has_ended) then
        return 0;
    end if;
    v_count := devart_private.do_rows('resume_deferred', array(
        select w.id from devart_private.deferral_times e
        cross join lateral (
            select t.id from devart.tasks t
            where t.status = 'SCHEDULED' and t.run_at = e.held_until
              and t.service_id = e.service_id and t.id <> all (v_put_off)
            limit p_limit
            for no key update skip locked) w
        where e.has_ended
        limit p_limit));
    delete from devart_private.deferral_times e
    where e.has_ended and not exists (
        select from devart.tasks t
        where t.status = 'SCHEDULED' and t.run_at = e.held_until and t.service_id = e.service_id);
    return v_count;
end
$$;

-- Whether the calling agent has a task in hand that names this service or for which money of it was
-- set aside (and may be given back by now), or money of it set aside.
create or replace function devart_private.works_with_service(p_service_id uuid)
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from devart.tasks t
        where t.agent_id = devart.my_agent_id() and t.status = 'IN_PROGRESS'
          and (t.service_id = p_service_id or exists (
              select from devart.charges c
              where c.task_id = t.id and c.service_id = p_service_id)))
    or exists (
        select from devart.holds h
        where h.service_id = p_service_id and h.status = 'HELD'
          and h.agent_id = devart.my_agent_id())
$$;

-- The service, locked, for whoever may say when it serves again. Errors: P0002, 42501.
create or replace function devart_private.service_to_defer(p_service_id uuid, p_manages boolean)
returns devart.service_registry language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
begin
    if not p_manages and devart.my_agent_id() is null then
        raise exception 'only supervisors and agents may do this' using errcode = '42501';
    end if;
    if not p_manages and not devart_private.works_with_service(p_service_id) then
        raise exception 'only agents that work with this service may do this'
            using errcode = '42501';
    end if;
    select s.* into v_service from devart.service_registry s
    where s.id = p_service_id for no key update;
    if not found then
        perform devart_private.refuse_argument(
            'service_id', format('names no service: %s', p_service_id), 'P0002');
    end if;
    return v_service;
end
$$;

-- Writes until when a service is put off (null: no more), and lets its tasks wait or go: so many at
-- once, the others with maintain().
create or replace function devart_private.put_service_off(
    p_service_id uuid, p_until timestamptz, p_reason text
)
returns devart.service_registry language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
    v_served uuid[] := array(
        select a from devart_private.services_served_by(p_service_id) a order by a);
begin
    update devart.service_registry s
    set deferred_until = p_until,
        deferred_reason = case when p_until is not null then p_reason end
    where s.id = p_service_id
    returning s.* into v_service;
    insert into devart_private.deferral_times as e (service_id, held_until)
    select u.id, devart_private.service_waits_until(u.id) from unnest(v_served) as u (id)
    where devart_private.service_waits_until(u.id) is not null
    union
    -- Also where a substitute serves: who finds it without money waits, too.
    select p_service_id, p_until where p_until is not null
    on conflict (service_id, held_until) do update set has_ended = false;
    update devart_private.deferral_times e set has_ended = true
    where e.service_id = any (v_served) and e.held_until
        > coalesce(devart_private.service_waits_until(e.service_id), '-infinity')
      and (e.service_id, e.held_until) is distinct from (p_service_id, p_until);
    -- Few, since the service is locked meanwhile.
    perform devart_private.resume_deferred_tasks(100);
    perform devart_private.defer_waiting_tasks(100);
    return v_service;
end
$$;

-- Puts a service off until its provider serves again: until then none of its tasks is handed out
-- and no money is set aside for it, unless a substitute serves; what is under way goes on. It ends
-- by itself, and is at most max_defer_seconds away: what is later counts as that. reason: for
-- people; cut at 1000 characters. Gives the service.
-- Supervisors put off until any moment, and end it with one that is past. An agent that works with
-- the service (by a task in hand, or money set aside) only makes it longer: what would end sooner,
-- or less than a second later, changes nothing.
-- Errors: P0002 no such service, 22023 until is missing or no sensible time, 42501 neither a
-- supervisor nor such an agent.
create or replace function devart.defer_service(
    service_id uuid, until timestamptz, reason text default null
)
returns devart.service_registry language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_manages boolean := not devart_private.is_api_caller() or devart.is_supervisor();
    v_longest interval := make_interval(
        secs => devart_private.setting_number('max_defer_seconds')::float8);
    v_until timestamptz;
    v_service devart.service_registry;
begin
    if defer_service.until is null then
        perform devart_private.refuse_argument('until', 'must be given');
    end if;
    perform devart_private.check_moment('until', defer_service.until);
    v_service := devart_private.service_to_defer(defer_service.service_id, v_manages);
    v_until := least(defer_service.until, clock_timestamp() + v_longest);
    if v_until <= clock_timestamp() then
        v_until := null;
    end if;
    if not v_manages and v_until is null then
        return v_service;
    end if;
    if not v_manages and v_service.deferred_until > clock_timestamp()
        and v_until < v_service.deferred_until + interval '1 second' then
        return v_service;
    end if;
    return devart_private.put_service_off(
        defer_service.service_id, v_until, nullif(left(defer_service.reason, 1000), ''));
end
$$;
