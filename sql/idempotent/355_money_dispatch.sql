-- The gate of an agent that works on a task: a refusal makes the task wait for budget.

-- The gate before a call that costs money: reserves as reserve_charge does and answers the same.
-- When a task's reserve is refused, the task becomes AWAITING_APPROVAL, with an approval of subject
-- budget, instead of failing; the answer then has task_status and approval_id, and the caller's
-- lease is over. ask false leaves the task with its agent, which may shrink its request to
-- max_affordable_units. An unknown price or a missing estimate never makes a task wait, nor does
-- what the agent has set aside for others: it is the request that must change, or the agent. Nor
-- does a stop, a pause or a service that is deferred: nobody has to be asked. Errors: as
-- reserve_charge.
-- (Dropped: its forms without ttl or dispatched, beside which calls would be ambiguous.)
drop function if exists
    devart.dispatch_task(uuid, numeric, jsonb, uuid, uuid, text, boolean),
    devart.dispatch_task(uuid, numeric, jsonb, uuid, uuid, text, boolean, interval);
create or replace function devart.dispatch_task(
    service_id uuid,
    estimate_usd numeric default null,
    usage jsonb default null,
    task_id uuid default null,
    lease_token uuid default null,
    idempotency_key text default null,
    ask boolean default true,
    ttl interval default '10 minutes',
    dispatched boolean default true
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_answer jsonb;
    v_agent_id uuid;
begin
    select t.agent_id into v_agent_id from devart.tasks t
    where t.id = dispatch_task.task_id for no key update;
    v_answer := devart.reserve_charge(
        dispatch_task.service_id, dispatch_task.estimate_usd, dispatch_task.usage,
        dispatch_task.task_id, dispatch_task.lease_token, dispatch_task.idempotency_key,
        dispatch_task.ttl, dispatch_task.dispatched);
    if (v_answer ->> 'admitted')::boolean or dispatch_task.task_id is null or not dispatch_task.ask
       or v_answer ->> 'code' in (
           'price_unknown', 'no_estimate', 'too_much_held', 'stopped', 'paused',
           'service_deferred') then
        return v_answer;
    end if;
    return v_answer || jsonb_build_object(
        'task_status', 'AWAITING_APPROVAL',
        'approval_id', devart_private.park_task(
            dispatch_task.task_id, v_agent_id,
            v_answer || jsonb_build_object('service_id', dispatch_task.service_id), false));
end
$$;

drop function if exists devart_private.free_granted_holds(uuid, uuid);

-- What people granted a task (431_approval_budget.sql) with this service and no claim has taken up
-- is what its agent asks for now: given back, to be reserved again in the same transaction. Called
-- by reserve_charge once it knows that the caller may ask and has not been answered before.
create or replace function devart_private.free_granted_holds(
    p_task_id uuid, p_agent_id uuid, p_service_id uuid
)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_granted uuid[];
begin
    v_granted := array(
        select h.id from devart.holds h
        where h.task_id = p_task_id and h.status = 'HELD' and h.follows_lease and h.attempt is null
          and not h.dispatched
          and coalesce(h.delegated_from, h.service_id) = p_service_id
        for no key update);
    if v_granted <> '{}' then
        perform devart_private.lock_budgets(devart_private.budgets_of(p_agent_id, p_task_id), true);
        perform devart_private.release_holds(v_granted, 'RELEASED');
    end if;
end
$$;
