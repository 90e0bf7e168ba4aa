-- Gives the task $1 back under its lease $2; only agent $3's when given. Counts neither as a
-- failure nor as a lost worker. Returns outcome_columns.sql.
update devart.tasks t
set status = 'TODO', agent_id = null, lease_token = null, lease_expires_at = null
where t.id = $1 and t.lease_token = $2 and t.status = 'IN_PROGRESS'
  and ($3 is null or t.agent_id = $3)
returning
