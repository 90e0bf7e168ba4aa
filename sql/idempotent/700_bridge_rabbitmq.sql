-- Messages about tasks, for agents that are pushed to rather than claim: topic rabbitmq.task of the
-- outbox. invite: the task can be started. delay: it can be from run_at on. dead: it failed for
-- good.
-- A message is only an invitation, and start_task decides: one too many costs nothing, one too few
-- would leave a task to those who claim. New tasks and changes of status are noticed in
-- pg_devart/src/tasks/history.rs.

-- Where messages about tasks with these (canonical) capabilities go: each set of capabilities is a
-- lane. What could be mistaken for another lane, or does not fit into a name, is told apart by its
-- digest.
create or replace function devart_private.task_routing_key(p_capabilities text[])
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select case
        when p_capabilities = '{}' then 'todo'
        when exists (select from unnest(p_capabilities) c
                     where c !~ '^[A-Za-z0-9._-]+$' or c ^@ 'sha256-')
             or length(array_to_string(p_capabilities, '+')) > 200
            then 'todo.sha256-' || left(encode(
                sha256(convert_to(to_jsonb(p_capabilities)::text, 'UTF8')), 'hex'), 32)
        else 'todo.' || array_to_string(p_capabilities, '+')
    end
$$;

-- Whether anybody delivers messages about tasks. Asked once per statement, since it is usually the
-- whole cost.
create or replace function devart_private.task_messages_wanted()
returns boolean language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select devart_private.setting('outbox_topics') ? 'rabbitmq.task'
$$;

-- Writes a message of this kind about each of the tasks, in the order given.
create or replace function devart_private.send_task_messages(p_kind text, p_task_ids uuid[])
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    insert into devart_private.outbox (topic, payload)
    select 'rabbitmq.task', jsonb_build_object(
        'kind', p_kind, 'task_id', t.id,
        'attempt', case p_kind when 'dead' then t.attempt else t.attempt + 1 end,
        'title', t.title, 'priority', t.priority,
        'routing_key', devart_private.task_routing_key(t.required_capabilities), 'run_at', t.run_at,
        'reason', case p_kind when 'dead' then t.last_error end, 'traceparent', t.traceparent)
    from unnest(p_task_ids) with ordinality as u (task_id, place)
    join devart.tasks t on t.id = u.task_id
    order by u.place;
    if found then
        perform devart_private.wake('rabbitmq.task');
    end if;
end
$$;

-- Invites again to a waiting task that was edited: its earlier message lies in another lane, or
-- queues with another priority.
create or replace function devart_private.tasks_after_edit_invite()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if devart_private.task_messages_wanted() then
        perform devart_private.send_task_messages('invite', array[new.id]);
    end if;
    return null;
end
$$;

create or replace trigger tasks_after_edit_invite after update of priority, required_capabilities
    on devart.tasks
    for each row when (
        old.status = 'TODO' and new.status = 'TODO'
        and (old.lane_id, old.priority) is distinct from (new.lane_id, new.priority)
    )
    execute function devart_private.tasks_after_edit_invite();

-- Every lane by its routing key, and whether tasks have waited in it for more than waiting_seconds;
-- no while messages have waited for that long too, since invitations are among them.
create or replace function devart_private.task_lanes(waiting_seconds float8)
returns table (routing_key text, has_waiting boolean) language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select devart_private.task_routing_key(l.required_capabilities),
    not backlog.is_there and exists (
        select from unnest(enum_range(null::devart.task_priority)) p
        cross join lateral (
            select from devart.tasks t
            where t.status = 'TODO' and t.lane_id = l.id and t.priority = p
              and t.ready_at < now() - make_interval(secs => task_lanes.waiting_seconds)
            limit 1
        ) w
    )
    from devart_private.lanes l, (
        select exists (
            select from devart_private.outbox o
            where o.topic = 'rabbitmq.task' and o.buried_at is null
              and o.created_at < now() - make_interval(secs => task_lanes.waiting_seconds)
        ) as is_there
    ) backlog
$$;

-- Lanes that were deleted leave queues behind, which the bridge deletes in its turn.
create or replace function devart_private.lanes_after_delete_retire()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if devart_private.task_messages_wanted() then
        insert into devart_private.retired_lanes (routing_key)
        select distinct devart_private.task_routing_key(g.required_capabilities) from gone g
        on conflict do nothing;
    end if;
    return null;
end
$$;

create or replace trigger lanes_after_delete_retire after delete on devart_private.lanes
    referencing old table as gone
    for each statement execute function devart_private.lanes_after_delete_retire();

-- The routing keys of up to 1000 deleted lanes whose queues may still be there. A lane that has
-- come back is forgotten.
create or replace function devart_private.retired_lanes()
returns setof text language sql security definer
set search_path = pg_catalog, pg_temp as $$
    delete from devart_private.retired_lanes r
    using devart_private.lanes l
    where r.routing_key = devart_private.task_routing_key(l.required_capabilities);
    select r.routing_key from devart_private.retired_lanes r order by r.retired_at limit 1000
$$;

-- The queues of these lanes are gone.
create or replace function devart_private.forget_retired_lanes(routing_keys text[])
returns void language sql security definer
set search_path = pg_catalog, pg_temp as $$
    delete from devart_private.retired_lanes r
    where r.routing_key = any (forget_retired_lanes.routing_keys)
$$;

-- Invites to every waiting task, or to those of some lanes: what the bridge does when it finds that
-- queues are new, or empty while tasks wait. Returns how many.
drop function if exists devart_private.invite_waiting_tasks(text);
create or replace function devart_private.invite_waiting_tasks(routing_keys text[] default null)
returns bigint language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task_ids uuid[];
begin
    if not devart_private.task_messages_wanted() then
        return 0;
    end if;
    select array_agg(t.id order by t.priority, t.ready_at) into v_task_ids
    from devart_private.lanes l
    join devart.tasks t on t.lane_id = l.id and t.status = 'TODO'
    where invite_waiting_tasks.routing_keys is null
       or devart_private.task_routing_key(l.required_capabilities)
          = any (invite_waiting_tasks.routing_keys);
    perform devart_private.send_task_messages('invite', v_task_ids);
    return coalesce(cardinality(v_task_ids), 0);
end
$$;

-- The same for one lane: what bridges of the release before call.
create or replace function devart_private.invite_waiting_tasks(routing_key text)
returns bigint language sql security definer
set search_path = pg_catalog, pg_temp as $$
    select devart_private.invite_waiting_tasks(
        case when invite_waiting_tasks.routing_key is not null
            then array[invite_waiting_tasks.routing_key] end)
$$;
