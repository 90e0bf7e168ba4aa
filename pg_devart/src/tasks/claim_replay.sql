-- Of agent $1, what it still holds of the claim that it made under the key $2: claimed_columns.sql
-- and the hold. The lease tokens tell: claim.sql and start.sql make them from the key. A lease that
-- ran out counts until somebody else has the task.
    (
        select h.id
        from devart.holds h
        where h.task_id = t.id and h.status = 'HELD' and h.follows_lease and h.attempt = t.attempt
        limit 1
    )
from devart.tasks t
where t.agent_id = $1 and t.status = 'IN_PROGRESS'
  and t.lease_token = md5($2::text || t.id::text || t.attempt::text)::uuid
order by t.priority, t.ready_at
