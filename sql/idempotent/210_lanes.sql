-- Lanes: the sets of capabilities that tasks require (docs/decisions/lanes.md). One is made with
-- its first task and goes when nobody has needed it for a day.

-- Sessions keep the lanes (pg_devart/src/pg/cached.rs). When one was last needed is none of their
-- business.
create or replace trigger lanes_forget_cached
    after insert or delete or update of id, required_capabilities on devart_private.lanes
    for each statement execute function devart_private.forget_cached();
alter table devart_private.lanes enable always trigger lanes_forget_cached;

-- Its form without the argument's name, beside which calls would be ambiguous.
drop function if exists devart_private.lane_of(text[]);

-- The lane of a canonical set of capabilities; made when it is the first of its kind. p_field: the
-- argument that they come from. Errors: those of check_new_lane.
create or replace function devart_private.lane_of(
    p_capabilities text[], p_field text default 'required_capabilities'
)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_lane_id int;
begin
    select l.id into v_lane_id from devart_private.lanes l
    where l.required_capabilities = p_capabilities;
    if not found then
        perform devart_private.check_new_lane(p_capabilities, p_field);
        insert into devart_private.lanes (required_capabilities, created_by)
        values (p_capabilities, coalesce(devart.my_user_id(), devart.my_agent_id()))
        on conflict do nothing;
        select l.id into v_lane_id from devart_private.lanes l
        where l.required_capabilities = p_capabilities;
    end if;
    return v_lane_id;
end
$$;

-- Refuses a lane that no index or broker could name, and one too many: each costs every claim and
-- every heartbeat of the agents that serve it. Operators may make any number. (Two who make one at
-- the same moment can both be let through: the limit is there for thousands.)
-- Errors: 22023 a capability is empty or longer than 100 characters, all of them take more than
-- 2,000 bytes, or the caller has made max_lanes_per_caller, or all callers max_lanes.
create or replace function devart_private.check_new_lane(p_capabilities text[], p_field text)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_caller uuid := coalesce(devart.my_user_id(), devart.my_agent_id());
begin
    if octet_length(array_to_string(p_capabilities, '')) > 2000
       or exists (
           select from unnest(p_capabilities) c where char_length(c) not between 1 and 100) then
        perform devart_private.refuse_argument(
            p_field, 'must be of 1 to 100 characters each, and of 2,000 bytes together');
    end if;
    if not devart_private.is_api_caller() then
        return;
    end if;
    if (select count(*) from devart_private.lanes l where l.created_by = v_caller)
        >= devart_private.setting_number('max_lanes_per_caller') then
        perform devart_private.refuse_argument(
            p_field, 'would be one more new set than the setting max_lanes_per_caller allows you');
    end if;
    if (select count(*) from devart_private.lanes) >= devart_private.setting_number('max_lanes')
    then
        perform devart_private.refuse_argument(
            p_field, 'would be one more set than the setting max_lanes allows');
    end if;
end
$$;

-- The lanes in which tasks wait: one probe of the index for each, however many tasks there are.
create or replace function devart_private.lanes_with_waiting_tasks()
returns setof int language sql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off as $$
    with recursive waiting (lane_id) as (
        (select t.lane_id from devart.tasks t where t.status = 'TODO' order by t.lane_id limit 1)
        union all
        select (select t.lane_id from devart.tasks t
                where t.status = 'TODO' and t.lane_id > w.lane_id order by t.lane_id limit 1)
        from waiting w where w.lane_id is not null
    )
    select w.lane_id from waiting w where w.lane_id is not null
$$;

-- Gives these tasks, which the caller has locked, a lane: theirs was deleted while they were
-- scheduled, blocked or failed. Returns how many.
create or replace function devart_private.give_lanes(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    -- Past check_new_lane: its limits are for those who make tasks, and these are made. A refusal
    -- here would stop tidy_lanes for good, so that no lane was ever free again.
    insert into devart_private.lanes (required_capabilities)
    select distinct devart_private.canonical_capabilities(t.required_capabilities)
    from devart.tasks t where t.id = any (p_ids)
    on conflict do nothing;
    update devart.tasks t
    set lane_id = devart_private.lane_of(
        devart_private.canonical_capabilities(t.required_capabilities))
    where t.id = any (p_ids);
    perform devart_private.wake('tasks');
    if devart_private.task_messages_wanted() then
        perform devart_private.send_task_messages('invite', p_ids);
    end if;
    return cardinality(p_ids);
end
$$;

-- Gives up to p_limit tasks that wait in a lane that is gone another one. Returns how many.
create or replace function devart_private.give_lanes_again(p_lane_ids int[], p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('give_lanes');
begin
    return devart_private.do_rows('give_lanes', array(
        select t.id from devart.tasks t
        where t.status = 'TODO' and t.lane_id = any (p_lane_ids) and t.id <> all (v_put_off)
        limit p_limit
        for no key update skip locked));
end
$$;

-- Whether this is one capability, and an agent in service has it: heartbeats name the queues of
-- lanes, so such a lane is there before its first task.
create or replace function devart_private.is_capability_of_an_agent(p_capabilities text[])
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select cardinality(p_capabilities) = 1 and exists (
        select from devart.agents a
        where a.status <> 'DEACTIVATED' and p_capabilities <@ a.capabilities)
$$;

-- Once a minute: notes which lanes are needed, mends tasks without one, and deletes up to p_limit
-- that nobody has needed for a day. The general lane (1) never goes; its used_at tells when this
-- ran last. Returns how many went.
create or replace function devart_private.tidy_lanes(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_waiting int[];
    v_lost int[];
    v_count int;
begin
    update devart_private.lanes l set used_at = now()
    where l.id = 1 and l.used_at < now() - interval '1 minute';
    if not found then
        return 0;
    end if;
    v_waiting := array(select devart_private.lanes_with_waiting_tasks());
    v_lost := array(
        select w from unnest(v_waiting) w
        where not exists (select from devart_private.lanes l where l.id = w));
    if v_lost <> '{}' then
        perform devart_private.give_lanes_again(v_lost, 1000);
    end if;
    update devart_private.lanes l set used_at = now()
    where l.used_at < now() - interval '1 hour'
      and (l.id = any (v_waiting)
           or l.id in (select t.lane_id from devart.tasks t where t.status = 'IN_PROGRESS'));
    delete from devart_private.lanes l
    where l.id in (
        select u.id from devart_private.lanes u
        where u.id <> 1 and u.used_at < now() - interval '1 day'
          and not devart_private.is_capability_of_an_agent(u.required_capabilities)
        limit p_limit);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;
