-- Takes up to $5 tasks for agent $6 with a lease of $7 seconds.
-- Queues to look into, one per lane and priority: $1 lane ids, $2 priority numbers, $3 where to start.
-- $4: seconds of waiting that count as one priority. $8: services whose tasks are not wanted.
-- $9: null, or the key that the lease tokens are made from, so that recall.sql finds them again.
-- A task that costs money gets its lease but stays TODO: it is started when its money is set aside (money/claim.rs).
--
-- heads: the oldest task of each queue, unlocked, only to order the queues: by priority, raised by
-- one for each $4 seconds waited, then by age. picked: goes through the queues in that order and
-- locks tasks until it has enough, so nothing is locked that is not taken.
with heads as materialized (
    select q.lane_id, q.priority, h.ready_at
    from (
        select u.lane_id, u.number, u.start,
            ('{CRITICAL,HIGH,MEDIUM,LOW}'::devart.task_priority[])[u.number] as priority
        from unnest($1, $2, $3) as u (lane_id, number, start)
    ) q
    cross join lateral (
        select t.ready_at
        from devart.tasks t
        where t.status = 'TODO' and t.lane_id = q.lane_id and t.priority = q.priority and t.ready_at >= q.start
        order by t.ready_at
        limit 1
    ) h
    order by greatest(1, q.number - floor(extract(epoch from now() - h.ready_at) / $4)), h.ready_at
),
picked as materialized (
    select p.id
    from heads
    cross join lateral (
        select t.id
        from devart.tasks t
        where t.status = 'TODO' and t.lane_id = heads.lane_id and t.priority = heads.priority
          and t.ready_at >= heads.ready_at
          and (t.service_id is null or t.estimated_cost_usd is null or t.service_id <> all ($8))
        order by t.ready_at
        limit $5
        for no key update skip locked
    ) p
    limit $5
)
update devart.tasks t
set status = case when t.service_id is null or t.estimated_cost_usd is null then 'IN_PROGRESS' else t.status end,
    agent_id = $6,
    attempt = t.attempt + 1,
    claimed_at = case when t.service_id is null or t.estimated_cost_usd is null then now() else t.claimed_at end,
    lease_token = coalesce(md5($9::text || t.id::text || (t.attempt + 1)::text)::uuid, gen_random_uuid()),
    lease_expires_at = now() + make_interval(secs => $7)
from picked
where t.id = picked.id
returning
    t.id, t.title, t.description, t.priority::text, t.payload, t.attempt, t.lease_token, t.lease_expires_at,
    t.service_id, t.workflow_run_id, t.traceparent,
    t.lane_id, array_position('{CRITICAL,HIGH,MEDIUM,LOW}'::devart.task_priority[], t.priority)::int2, t.ready_at,
    case when t.service_id is not null then t.estimated_cost_usd end
