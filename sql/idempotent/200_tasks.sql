-- What the database does by itself when a task is made or changes, whoever does it and however.

-- Sorted and without repeats, so that each set of capabilities is one lane.
create or replace function devart_private.canonical_capabilities(p_capabilities text[])
returns text[] language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(distinct c order by c), '{}') from unnest(p_capabilities) c
$$;

-- Sessions keep the lanes (pg_devart/src/pg/cached.rs).
create or replace trigger lanes_forget_cached after insert or update or delete
    on devart_private.lanes
    for each statement execute function devart_private.forget_cached();
alter table devart_private.lanes enable always trigger lanes_forget_cached;

-- The lane of a canonical set of capabilities; made when it is the first of its kind.
create or replace function devart_private.lane_of(p_capabilities text[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_lane_id int;
begin
    select l.id into v_lane_id from devart_private.lanes l
    where l.required_capabilities = p_capabilities;
    if not found then
        insert into devart_private.lanes (required_capabilities) values (p_capabilities)
        on conflict do nothing;
        select l.id into v_lane_id from devart_private.lanes l
        where l.required_capabilities = p_capabilities;
    end if;
    return v_lane_id;
end
$$;

-- Native: pg_devart/src/tasks/arrival.rs and history.rs.
create or replace trigger tasks_before_insert before insert on devart.tasks
    for each row execute function devart_private.tasks_before_insert();

create or replace trigger tasks_after_insert after insert on devart.tasks
    referencing new table as new_tasks
    for each statement execute function devart_private.tasks_after_insert();

-- Native: pg_devart/src/tasks/arrival.rs.
create or replace trigger tasks_before_payload_update before update of payload on devart.tasks
    for each row execute function devart_private.tasks_before_payload_update();

create or replace trigger tasks_before_edit before update of priority, run_at, required_capabilities
    on devart.tasks
    for each row execute function devart_private.tasks_before_edit();

-- No WHEN: Postgres parses such a condition again in each statement, which costs more than the look
-- that the function takes.
create or replace trigger tasks_before_requeue before update of status on devart.tasks
    for each row execute function devart_private.tasks_before_requeue();

-- Native: pg_devart/src/tasks/history.rs.
create or replace trigger tasks_after_status_change after update on devart.tasks
    for each row execute function devart_private.tasks_after_status_change();
