-- What the database does by itself when a task is made or changes, whoever does it and however.

-- Sorted and without repeats, so that each set of capabilities is one lane.
create or replace function devart_private.canonical_capabilities(p_capabilities text[])
returns text[] language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(distinct c order by c), '{}') from unnest(p_capabilities) c
$$;

-- Native: pg_devart/src/tasks/arrival.rs and history.rs.
create or replace trigger tasks_before_insert before insert on devart.tasks
    for each row execute function devart_private.tasks_before_insert();

create or replace trigger tasks_after_insert after insert on devart.tasks
    referencing new table as new_tasks
    for each statement execute function devart_private.tasks_after_insert();

-- Native: pg_devart/src/tasks/arrival.rs.
-- Errors: 22023 run_at is no sensible time, 55000 needs_approval is taken back.
create or replace trigger tasks_before_edit
    before update of title, description, priority, payload, service_id, required_capabilities,
        run_at, estimated_cost_usd, needs_approval
    on devart.tasks
    for each row execute function devart_private.tasks_before_edit();

-- No WHEN: Postgres parses such a condition again in each statement, which costs more than the look
-- that the function takes.
create or replace trigger tasks_before_requeue before update of status on devart.tasks
    for each row execute function devart_private.tasks_before_requeue();

-- Native: pg_devart/src/tasks/history.rs.
create or replace trigger tasks_after_status_change after update on devart.tasks
    for each row execute function devart_private.tasks_after_status_change();
