-- Gives the hold that people granted the task $1 to its agent $2 and attempt $3, for $4 seconds
-- from now, if they granted it for what the task costs now: service $5, and at least $6 US dollars.
update devart.holds h
set agent_id = $2, attempt = $3, expires_at = clock_timestamp() + make_interval(secs => $4)
where h.id in (
    select g.id from devart.holds g
    where g.task_id = $1 and g.status = 'HELD' and g.follows_lease and g.attempt is null
      and not g.dispatched
      and g.expires_at > now()
      and coalesce(g.delegated_from, g.service_id) = $5 and g.amount_usd >= $6
    limit 1
    for no key update
)
returning h.id
