-- What people, operators and agents do with tasks. Creating runs as the caller, under the policies.
-- (What workers do, claim to complete, is native: pg_devart/src/tasks.)

-- Its form without timeout_seconds, beside which calls would be ambiguous.
drop function if exists devart.create_task(
    text, text, devart.task_priority, jsonb, uuid, uuid, text[], timestamptz, int, numeric, uuid[],
    boolean, text, text);

-- Creates one task. priority null: the parent's, else MEDIUM. Times are instants, money US dollars.
-- traceparent: the trace that the task belongs to, as W3C Trace Context writes it.
-- timeout_seconds: how long an attempt may run, whatever its heartbeats say; null for no limit.
-- The same idempotency_key from the same caller gives the task that it made the first time, for as
-- long as there is that task. Of a child that an agent makes, also to another agent in a later
-- attempt at its parent.
-- Errors: 22023 and 23514 invalid argument, 23503 unknown parent, service or dependency, 23505 the
-- key was used with other arguments (traceparent aside, which a repetition may change), 42501.
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
    traceparent text default null,
    timeout_seconds int default null
)
returns devart.tasks language plpgsql as $$
#variable_conflict use_column
declare
    v_task devart.tasks;
    v_digest bytea;
    -- The whole row as one column: taking it apart into its thirty costs a fifteenth of the insert.
    v_created record;
    v_is_known boolean := false;
begin
    if create_task.idempotency_key is not null then
        v_digest := devart.task_request_digest(
            create_task.title, create_task.description, create_task.priority, create_task.payload,
            create_task.parent_task_id, create_task.service_id, create_task.required_capabilities,
            create_task.run_at, create_task.max_retries, create_task.estimated_cost_usd,
            create_task.depends_on, create_task.needs_approval, create_task.timeout_seconds);
        if create_task.parent_task_id is not null then
            select c.* into v_task
            from devart.child_of_earlier_attempt(
                create_task.parent_task_id, create_task.idempotency_key) c;
            v_is_known := found;
        end if;
    end if;
    if not v_is_known then
        insert into devart.tasks as t (
            title, description, priority, payload, parent_task_id, service_id,
            required_capabilities, run_at, max_retries, estimated_cost_usd, idempotency_key,
            traceparent, timeout_seconds, request_digest, status
        ) values (
            create_task.title, create_task.description, create_task.priority,
            coalesce(create_task.payload, '{}'), create_task.parent_task_id,
            create_task.service_id, coalesce(create_task.required_capabilities, '{}'),
            create_task.run_at, coalesce(create_task.max_retries, 3),
            -- Rounded up to a millionth: what costs something is never free.
            ceil(create_task.estimated_cost_usd * 1e6) / 1e6, create_task.idempotency_key,
            create_task.traceparent, create_task.timeout_seconds, v_digest,
            case
                when create_task.needs_approval then 'AWAITING_APPROVAL'
                when pg_catalog.cardinality(create_task.depends_on) operator(pg_catalog.>) 0
                    then 'BLOCKED'
            end::devart.task_status
        )
        -- Names its index, so that tasks without a key are not looked for.
        on conflict (
            coalesce(created_by, '00000000-0000-0000-0000-000000000000'), idempotency_key
        ) where idempotency_key is not null do nothing
        returning t as task into v_created;
        if not found then
            v_is_known := true;
            select t.* into v_task from devart.tasks t
            where t.idempotency_key operator(pg_catalog.=) create_task.idempotency_key
              and coalesce(t.created_by, '00000000-0000-0000-0000-000000000000')
                  operator(pg_catalog.=)
                  coalesce(devart.my_user_id(), devart.my_agent_id(),
                           '00000000-0000-0000-0000-000000000000');
        end if;
    end if;
    if v_is_known then
        -- One made by an insert, or before there were digests, tells only its title.
        if v_task.id is null or v_task.title operator(pg_catalog.<>) create_task.title
           and v_task.request_digest is null
           or v_task.request_digest operator(pg_catalog.<>) v_digest then
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

-- The child that an agent made under this key; only for the agent that works on the parent now. Two
-- do not make it at once, since each has the parent in hand.
create or replace function devart.child_of_earlier_attempt(p_parent_task_id uuid, p_key text)
returns setof devart.tasks language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if devart.is_my_task_in_progress(p_parent_task_id) then
        return query
        select t.* from devart.tasks t
        where t.parent_task_id = p_parent_task_id and t.idempotency_key = p_key
          and exists (select from devart.agents a where a.id = t.created_by)
        order by t.id limit 1;
    end if;
end
$$;

-- What a creator asks for, so that the same request is known again: as SHA-256. The order of
-- capabilities and dependencies says nothing, nor do zeros at the end of an amount. The payload is
-- measured first: 80 kB of exponents are a gigabyte of text. Errors: 22023 payload.
create or replace function devart.task_request_digest(
    p_title text, p_description text, p_priority devart.task_priority, p_payload jsonb,
    p_parent_task_id uuid, p_service_id uuid, p_required_capabilities text[],
    p_run_at timestamptz, p_max_retries int, p_estimated_cost_usd numeric, p_depends_on uuid[],
    p_needs_approval boolean, p_timeout_seconds int
)
returns bytea language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select sha256(convert_to(jsonb_build_array(
        p_title, p_description, p_priority,
        coalesce(p_payload, '{}')::devart.task_payload::jsonb, p_parent_task_id, p_service_id,
        array(select distinct c from unnest(p_required_capabilities) c order by c),
        extract(epoch from p_run_at), coalesce(p_max_retries, 3),
        trim_scale(p_estimated_cost_usd),
        array(select distinct d from unnest(p_depends_on) d order by d),
        coalesce(p_needs_approval, false), p_timeout_seconds)::text, 'UTF8'))
$$;

-- Creates many tasks in one statement; each element has the arguments of create_task but
-- depends_on and needs_approval. Returns their ids in the order given; for an idempotency_key that
-- is known already, also from the same batch, that of the task that it made.
-- Errors: as create_task; 22023 when tasks is not an array.
create or replace function devart.create_tasks(tasks jsonb)
returns setof uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if jsonb_typeof(create_tasks.tasks) is distinct from 'array' then
        raise exception 'tasks must be an array'
            using errcode = '22023', detail = '{"field": "tasks"}';
    end if;
    if jsonb_path_exists(
        create_tasks.tasks, 'strict $[*] ? (@.idempotency_key != null)', silent => true)
    then
        return query
        select c.id
        from rows from (jsonb_to_recordset(create_tasks.tasks) as (
            title text, description text, priority devart.task_priority, payload jsonb,
            parent_task_id uuid, service_id uuid, required_capabilities text[], run_at timestamptz,
            max_retries int, estimated_cost_usd numeric, idempotency_key text, traceparent text,
            timeout_seconds int
        )) with ordinality as n (
            title, description, priority, payload, parent_task_id, service_id,
            required_capabilities, run_at, max_retries, estimated_cost_usd, idempotency_key,
            traceparent, timeout_seconds, place
        )
        cross join lateral devart.create_task(
            n.title, n.description, n.priority, n.payload, n.parent_task_id, n.service_id,
            n.required_capabilities, n.run_at, n.max_retries, n.estimated_cost_usd,
            idempotency_key => n.idempotency_key, traceparent => n.traceparent,
            timeout_seconds => n.timeout_seconds) c
        order by n.place;
        return;
    end if;
    return query
    insert into devart.tasks as t (
        title, description, priority, payload, parent_task_id, service_id, required_capabilities,
        run_at, max_retries, estimated_cost_usd, traceparent, timeout_seconds
    )
    select
        n.title, n.description, n.priority, coalesce(n.payload, '{}'), n.parent_task_id,
        n.service_id, coalesce(n.required_capabilities, '{}'), n.run_at,
        coalesce(n.max_retries, 3), ceil(n.estimated_cost_usd * 1e6) / 1e6, n.traceparent,
        n.timeout_seconds
    from jsonb_to_recordset(create_tasks.tasks) as n (
        title text, description text, priority devart.task_priority, payload jsonb,
        parent_task_id uuid, service_id uuid, required_capabilities text[], run_at timestamptz,
        max_retries int, estimated_cost_usd numeric, traceparent text, timeout_seconds int
    )
    returning t.id;
end
$$;

-- Edits a task that is neither taken nor finished. changes: column to new value. One that needs
-- approval asks people again when what they approved changes.
-- Errors: P0002 no such task, 55000 taken or finished, 22023 unknown column, 42501.
create or replace function devart.update_task(task_id uuid, changes jsonb)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
begin
    perform devart_private.check_changes(update_task.changes, array[
        'title', 'description', 'priority', 'payload', 'required_capabilities', 'run_at',
        'max_retries', 'estimated_cost_usd', 'service_id', 'timeout_seconds']);
    v_task := devart_private.task_in_state(
        update_task.task_id, '{BLOCKED,AWAITING_APPROVAL,SCHEDULED,TODO,FAILED}', 'edited');
    v_task := jsonb_populate_record(v_task, update_task.changes);
    if update_task.changes ? 'estimated_cost_usd' then
        v_task.estimated_cost_usd :=
            ceil((update_task.changes ->> 'estimated_cost_usd')::numeric * 1e6) / 1e6;
    end if;
    update devart.tasks t
    set title = v_task.title, description = v_task.description, priority = v_task.priority,
        payload = v_task.payload, required_capabilities = v_task.required_capabilities,
        run_at = v_task.run_at, max_retries = v_task.max_retries,
        estimated_cost_usd = v_task.estimated_cost_usd, service_id = v_task.service_id,
        timeout_seconds = v_task.timeout_seconds
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

-- Deletes a task that nobody works on; its history stays. What waits for it is cancelled.
-- Errors: P0002, 55000 in progress, 42501.
create or replace function devart.delete_task(task_id uuid)
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.task_in_state(
        delete_task.task_id, '{BLOCKED,AWAITING_APPROVAL,SCHEDULED,TODO,DONE,FAILED,CANCELLED}',
        'deleted');
    delete from devart.tasks t where t.id = delete_task.task_id;
end
$$;

-- Cancels a task in any state but a finished one. A worker that holds it is refused from then on.
-- Errors: P0002, 55000 already finished, 22023 reason is longer than 10,000 characters, 42501.
create or replace function devart.cancel_task(task_id uuid, reason text default null)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
begin
    if char_length(cancel_task.reason) > 10000 then
        perform devart_private.refuse_argument(
            'reason', 'must not be longer than 10,000 characters');
    end if;
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

-- Gives a failed or cancelled task another life, with all its retries; one that needs approval asks
-- for it again.
-- Errors: P0002, 55000 not failed or cancelled, or it depends on a cancelled task, 42501.
create or replace function devart.retry_task(task_id uuid)
returns devart.tasks language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_task devart.tasks;
    v_cancelled uuid;
begin
    perform devart_private.task_in_state(retry_task.task_id, '{FAILED,CANCELLED}', 'retried');
    v_cancelled := devart_private.cancelled_dependency(retry_task.task_id);
    if v_cancelled is not null then
        perform devart_private.refuse_argument('task_id', format(
            'names a task that depends on task %s, which is CANCELLED: retry that first',
            v_cancelled), '55000');
    end if;
    update devart.tasks t
    set status = 'TODO', retry_count = 0, rescue_count = 0, run_at = null,
        finished_at = null, agent_id = null, lease_token = null
    where t.id = retry_task.task_id
    returning t.* into v_task;
    return v_task;
end
$$;
