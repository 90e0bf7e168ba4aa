-- What people, operators and agents do with tasks. Creating runs as the caller, under the policies.
-- (What workers do, claim to complete, is native: pg_devart/src/tasks.)

-- Creates one task. priority null: the parent's, else MEDIUM. Times are instants, money US dollars.
-- traceparent: the trace that the task belongs to, as W3C Trace Context writes it.
-- The same idempotency_key from the same caller gives the task that it made the first time.
-- Errors: 22023 and 23514 invalid argument, 23503 unknown parent, service or dependency, 42501.
--
-- Runs with its caller's rights, and without a pinned search_path, which would cost a twentieth of
-- the whole: every name here is qualified instead, operators too.
create or replace function devart.create_task(
    title text,
    description text default null,
    priority devart.task_priority default null,
    payload jsonb default '{}',
    parent_task_id uuid default null,
    service_id uuid default null,
    required_capabilities text[] default '{}',
    run_at timestamptz default null,
    max_retries int default 3,
    estimated_cost_usd numeric default null,
    depends_on uuid[] default '{}',
    needs_approval boolean default false,
    idempotency_key text default null,
    traceparent text default null
)
returns devart.tasks language plpgsql as $$
#variable_conflict use_column
declare
    v_task devart.tasks;
    -- The whole row as one column: taking it apart into its thirty costs a fifteenth of the insert.
    v_created record;
begin
    insert into devart.tasks as t (
        title, description, priority, payload, parent_task_id, service_id, required_capabilities,
        run_at, max_retries, estimated_cost_usd, idempotency_key, traceparent, status
    ) values (
        create_task.title, create_task.description, create_task.priority,
        coalesce(create_task.payload, '{}'), create_task.parent_task_id, create_task.service_id,
        coalesce(create_task.required_capabilities, '{}'), create_task.run_at,
        coalesce(create_task.max_retries, 3), create_task.estimated_cost_usd,
        create_task.idempotency_key, create_task.traceparent,
        case
            when create_task.needs_approval then 'AWAITING_APPROVAL'
            when pg_catalog.cardinality(create_task.depends_on) operator(pg_catalog.>) 0
                then 'BLOCKED'
        end::devart.task_status
    )
    -- Names its index, so that tasks without a key are not looked for.
    on conflict (coalesce(created_by, '00000000-0000-0000-0000-000000000000'), idempotency_key)
        where idempotency_key is not null do nothing
    returning t as task into v_created;
    if not found then
        select t.* into v_task from devart.tasks t
        where t.idempotency_key operator(pg_catalog.=) create_task.idempotency_key
          and coalesce(t.created_by, '00000000-0000-0000-0000-000000000000') operator(pg_catalog.=)
              coalesce(devart.my_user_id(), devart.my_agent_id(),
                       '00000000-0000-0000-0000-000000000000');
        if not found or v_task.title operator(pg_catalog.<>) create_task.title then
            raise exception 'idempotency_key was used for another task'
                using errcode = '23505', detail = '{"field": "idempotency_key"}';
        end if;
        return v_task;
    end if;
    if pg_catalog.cardinality(create_task.depends_on) operator(pg_catalog.>) 0 then
        insert into devart.task_dependencies (task_id, depends_on)
        select distinct (v_created.task).id, d from pg_catalog.unnest(create_task.depends_on) d;
        select t.* into v_task from devart.tasks t
        where t.id operator(pg_catalog.=) (v_created.task).id;
        return v_task;
    end if;
    return v_created.task;
end
$$;

-- Creates many tasks in one statement; each element has the arguments of create_task but
-- depends_on and needs_approval. Returns their ids in the order given.
-- Errors: as create_task; 22023 when tasks is not an array.
create or replace function devart.create_tasks(tasks jsonb)
returns setof uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if jsonb_typeof(create_tasks.tasks) is distinct from 'array' then
        raise exception 'tasks must be an array'
            using errcode = '22023', detail = '{"field": "tasks"}';
    end if;
    return query
    insert into devart.tasks as t (
        title, description, priority, payload, parent_task_id, service_id, required_capabilities,
        run_at, max_retries, estimated_cost_usd, idempotency_key, traceparent
    )
    select
        n.title, n.description, n.priority, coalesce(n.payload, '{}'), n.parent_task_id,
        n.service_id, coalesce(n.required_capabilities, '{}'), n.run_at,
        coalesce(n.max_retries, 3), n.estimated_cost_usd, n.idempotency_key, n.traceparent
    from jsonb_to_recordset(create_tasks.tasks) as n (
        title text, description text, priority devart.task_priority, payload jsonb,
        parent_task_id uuid, service_id uuid, required_capabilities text[], run_at timestamptz,
        max_retries int, estimated_cost_usd numeric, idempotency_key text, traceparent text
    )
    returning t.id;
end
$$;

-- Edits a task that is neither taken nor finished. changes: column to new value.
-- Errors: P0002 no such task, 55000 taken or finished, 22023 unknown column, 42501.
create or replace function devart.update_task(task_id uuid, changes jsonb)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
begin
    perform devart_private.check_changes(update_task.changes, array[
        'title', 'description', 'priority', 'payload', 'required_capabilities', 'run_at',
        'max_retries', 'estimated_cost_usd', 'service_id']);
    v_task := devart_private.task_in_state(
        update_task.task_id, '{BLOCKED,AWAITING_APPROVAL,SCHEDULED,TODO,FAILED}', 'edited');
    v_task := jsonb_populate_record(v_task, update_task.changes);
    update devart.tasks t
    set title = v_task.title, description = v_task.description, priority = v_task.priority,
        payload = v_task.payload, required_capabilities = v_task.required_capabilities,
        run_at = v_task.run_at, max_retries = v_task.max_retries,
        estimated_cost_usd = v_task.estimated_cost_usd, service_id = v_task.service_id
    where t.id = update_task.task_id
    returning t.* into v_task;
    return v_task;
end
$$;

-- The task, locked, for a supervisor, if it is in one of the states. p_verb: what is to be done to
-- it. Errors: P0002, 55000, 42501.
create or replace function devart_private.task_in_state(
    p_task_id uuid, p_states devart.task_status[], p_verb text
)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
begin
    perform devart_private.require_supervisor();
    select t.* into v_task from devart.tasks t where t.id = p_task_id for no key update;
    if not found then
        perform devart_private.refuse_argument(
            'task_id', format('names no task: %s', p_task_id), 'P0002');
    end if;
    if v_task.status <> all (p_states) then
        perform devart_private.refuse_argument(
            'task_id', format('names a task that is %s and cannot be %s', v_task.status, p_verb),
            '55000');
    end if;
    return v_task;
end
$$;

-- Deletes a task that nobody works on; its history stays.
-- Errors: P0002, 55000 in progress or needed by another task, 42501.
create or replace function devart.delete_task(task_id uuid)
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.task_in_state(
        delete_task.task_id, '{BLOCKED,AWAITING_APPROVAL,SCHEDULED,TODO,DONE,FAILED,CANCELLED}',
        'deleted');
    delete from devart.tasks t where t.id = delete_task.task_id;
exception when foreign_key_violation then
    perform devart_private.refuse_argument(
        'task_id', 'names a task that another task depends on', '55000');
end
$$;

-- Cancels a task in any state but a finished one. A worker that holds it is refused from then on.
-- Errors: P0002, 55000 already finished, 42501.
create or replace function devart.cancel_task(task_id uuid, reason text default null)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
begin
    perform devart_private.task_in_state(
        cancel_task.task_id, '{BLOCKED,AWAITING_APPROVAL,SCHEDULED,TODO,IN_PROGRESS}', 'cancelled');
    update devart.tasks t
    set status = 'CANCELLED', finished_at = now(), lease_token = null, lease_expires_at = null,
        last_error = cancel_task.reason
    where t.id = cancel_task.task_id
    returning t.* into v_task;
    return v_task;
end
$$;

-- Gives a failed or cancelled task another life, with all its retries.
-- Errors: P0002, 55000 not failed or cancelled, 42501.
create or replace function devart.retry_task(task_id uuid)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
begin
    perform devart_private.task_in_state(retry_task.task_id, '{FAILED,CANCELLED}', 'retried');
    update devart.tasks t
    set status = devart_private.ready_status(t.id), retry_count = 0, rescue_count = 0,
        run_at = null, finished_at = null, agent_id = null, lease_token = null
    where t.id = retry_task.task_id
    returning t.* into v_task;
    return v_task;
end
$$;
