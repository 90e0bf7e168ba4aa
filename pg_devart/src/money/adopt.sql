-- Gives the hold that people granted the task $1 to its agent $2 and attempt $3, for $4 seconds
-- from now.
update devart.holds h
set agent_id = $2, attempt = $3, expires_at = clock_timestamp() + make_interval(secs => $4)
where h.id in (
    select g.id from devart.holds g
    where g.task_id = $1 and g.status = 'HELD' and g.follows_lease and g.attempt is null
      and g.expires_at > now()
    limit 1
    for no key update
)
returning h.id
