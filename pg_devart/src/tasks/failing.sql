-- The task $1 under its lease $2, locked, with what decides about a retry; only agent $3's when
-- given.
select t.retry_count, t.max_retries
from devart.tasks t
where t.id = $1 and t.lease_token = $2 and t.status = 'IN_PROGRESS'
  and ($3 is null or t.agent_id = $3)
for no key update of t
