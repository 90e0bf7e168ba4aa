-- Completes the tasks that the query `finished` names (complete.rs), each under its lease_token and
-- with its result; only agent $4's when given. What it returns, complete.rs adds.
-- A task already completed under the same lease counts as completed: a worker that lost the answer
-- may ask again.
update devart.tasks t
set status = 'DONE',
    result = case t.status when 'DONE' then t.result else f.result end,
    finished_at = coalesce(t.finished_at, now()),
    lease_expires_at = null
from finished f
where t.id = f.task_id and t.lease_token = f.lease_token and t.status in ('IN_PROGRESS', 'DONE')
  and ($4 is null or t.agent_id = $4)
returning
