-- Takes the picked task $1 out of its queue as it was before, until $2, when the provider of its
-- service serves again.
update devart.tasks t
set status = 'SCHEDULED', run_at = $2::timestamptz,
    attempt = t.attempt - 1, agent_id = null, lease_token = null, lease_expires_at = null
where t.id = $1
