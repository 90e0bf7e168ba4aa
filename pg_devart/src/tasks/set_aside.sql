-- Takes the task $1, which cannot be handed out for the reason $2, out of the queue: it has failed
-- for itself, and people see why. Its agent never had it.
update devart.tasks t
set status = 'FAILED', finished_at = now(), last_error = $2, agent_id = null, lease_token = null,
    lease_expires_at = null
where t.id = $1
