-- Extends the lease $2 of task $1 to $3 seconds from now; only agent $4's when given. Returns
-- outcome_columns.sql.
update devart.tasks t
set lease_expires_at = now() + make_interval(secs => $3)
where t.id = $1 and t.lease_token = $2 and t.status = 'IN_PROGRESS'
  and ($4 is null or t.agent_id = $4)
returning
