-- Leaves the picked task $1 in its queue as it was before.
update devart.tasks t
set attempt = t.attempt - 1, agent_id = null, lease_token = null, lease_expires_at = null
where t.id = $1
