-- What the database does by itself when a task is made or changes, whoever does it and however.

-- Sorted and without repeats, so that each set of capabilities is one lane.
create or replace function devart_private.canonical_capabilities(p_capabilities text[])
returns text[] language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(distinct c order by c), '{}') from unnest(p_capabilities) c
$$;

-- The lane of a canonical set of capabilities; made when it is the first of its kind.
create or replace function devart_private.lane_of(p_capabilities text[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_lane_id int;
begin
    select l.id into v_lane_id from devart_private.lanes l where l.required_capabilities = p_capabilities;
    if not found then
        insert into devart_private.lanes (required_capabilities) values (p_capabilities) on conflict do nothing;
        select l.id into v_lane_id from devart_private.lanes l where l.required_capabilities = p_capabilities;
    end if;
    return v_lane_id;
end
$$;

-- Refuses a payload of more than 256 KiB. A check constraint would measure it again at every update.
create or replace function devart_private.check_payload(p_payload jsonb)
returns void language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    if octet_length(p_payload::text) > 262144 then
        raise exception 'payload must not be longer than 256 KiB' using errcode = '22023';
    end if;
end
$$;

-- Gives a new row what its writer left open: priority, lane, status, creator.
create or replace function devart_private.tasks_before_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if new.priority is null then
        new.priority := coalesce(
            (select p.priority from devart.tasks p where p.id = new.parent_task_id), 'MEDIUM');
    end if;
    if new.required_capabilities = '{}' then
        new.lane_id := 1;
    else
        new.required_capabilities := devart_private.canonical_capabilities(new.required_capabilities);
        new.lane_id := devart_private.lane_of(new.required_capabilities);
    end if;
    if new.payload <> '{}' then
        perform devart_private.check_payload(new.payload);
    end if;
    if coalesce(new.status, 'TODO') in ('TODO', 'SCHEDULED') then
        new.status := case when new.run_at > now() then 'SCHEDULED' else 'TODO' end;
    end if;
    if new.created_by is null then
        new.created_by := coalesce(devart.my_user_id(), devart.my_agent_id());
    end if;
    return new;
end
$$;

-- History, approvals and wake-up for new tasks; once per statement, so that bulk inserts stay fast.
create or replace function devart_private.tasks_after_insert()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    insert into devart.task_events (task_id, to_status, actor, agent_id, attempt)
    select t.id, t.status, devart_private.actor(), t.agent_id, t.attempt from new_tasks t;
    perform devart_private.request_task_approval(t.id) from new_tasks t where t.status = 'AWAITING_APPROVAL';
    if exists (select from new_tasks t where t.status = 'TODO') then
        perform devart_private.wake('tasks');
    end if;
    return null;
end
$$;

-- Keeps an edited task in the right lane and state, and gives a task that becomes TODO its place.
create or replace function devart_private.tasks_before_requeue()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if new.required_capabilities is distinct from old.required_capabilities then
        new.required_capabilities := devart_private.canonical_capabilities(new.required_capabilities);
        new.lane_id := devart_private.lane_of(new.required_capabilities);
    end if;
    if new.status in ('TODO', 'SCHEDULED') then
        new.status := case when new.run_at > now() then 'SCHEDULED' else 'TODO' end;
        new.ready_at := clock_timestamp();
    end if;
    return new;
end
$$;

create or replace trigger tasks_before_insert before insert on devart.tasks
    for each row execute function devart_private.tasks_before_insert();

create or replace trigger tasks_after_insert after insert on devart.tasks
    referencing new table as new_tasks
    for each statement execute function devart_private.tasks_after_insert();

-- Separate, and by column, because comparing two large payloads at each claim would cost more than the claim.
create or replace function devart_private.tasks_before_payload_update()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.check_payload(new.payload);
    return new;
end
$$;

create or replace trigger tasks_before_payload_update before update of payload on devart.tasks
    for each row execute function devart_private.tasks_before_payload_update();

-- What a person can change; claims and completions do not touch these columns.
create or replace trigger tasks_before_edit before update of priority, run_at, required_capabilities on devart.tasks
    for each row execute function devart_private.tasks_before_requeue();

create or replace trigger tasks_before_requeue before update of status on devart.tasks
    for each row when (new.status = 'TODO' and old.status <> 'TODO')
    execute function devart_private.tasks_before_requeue();

-- Native: pg_devart/src/tasks/history.rs.
create or replace trigger tasks_after_status_change after update on devart.tasks
    for each row execute function devart_private.tasks_after_status_change();
