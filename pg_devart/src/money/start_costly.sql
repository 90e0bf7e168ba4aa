-- Hands the picked task $1 out, whose money is set aside.
update devart.tasks t set status = 'IN_PROGRESS', claimed_at = now() where t.id = $1
