-- Notes that agent $1 lives, keeps what it says of itself ($2), and extends its leases to $3
-- seconds from now: those whose tokens are in $2's lease_tokens, or all when it lists none. An
-- agent that lists them lets the tasks of its crashed predecessor expire instead of keeping them
-- alive for ever.
with listed as (
    select case when $2 ? 'lease_tokens'
        then array(select jsonb_array_elements_text($2 -> 'lease_tokens')::uuid) end as tokens
),
extended as (
    update devart.tasks t
    set lease_expires_at = now() + make_interval(secs => $3)
    from listed l
    where t.agent_id = $1 and t.status = 'IN_PROGRESS'
      and (l.tokens is null or t.lease_token = any (l.tokens))
    returning t.id
),
active as (
    select count(*)::int as tasks
    from devart.tasks t
    where t.agent_id = $1 and t.status = 'IN_PROGRESS'
)
update devart.agents a
set last_heartbeat_at = now(),
    detail = coalesce($2 - 'lease_tokens', a.detail),
    active_task_count = active.tasks,
    status = case
        when a.status = 'DEACTIVATED' then a.status
        when active.tasks > 0 then 'BUSY'
        else 'IDLE'
    end::devart.agent_status
from active
where a.id = $1
returning jsonb_build_object(
    'status', a.status,
    'leases_extended', (select count(*) from extended),
    'active_task_count', a.active_task_count,
    'stop', a.status = 'DEACTIVATED',
    'stops', devart_private.stops_of_agent(a.id),
    'queues', (
        select jsonb_agg(
            'tasks.' || devart_private.task_routing_key(l.required_capabilities) order by l.id)
        from devart_private.lanes l
        where l.required_capabilities <@ a.capabilities
    )
)
