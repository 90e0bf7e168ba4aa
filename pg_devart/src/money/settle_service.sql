-- Settles into the window $2 of service $1 if it is open: $3 is spent (below 0: was not, after
-- all), $4 is not held any more. The last column: whether people must be told (see
-- take_locked.sql).
update devart.service_registry s
set spent_usd = s.spent_usd + $3, held_usd = s.held_usd - $4
where s.id = $1 and s.window_id = $2
returning
    s.status = 'SUSPENDED', case when s.hard_limit then s.budget_usd - s.spent_usd - s.held_usd end,
    $3 > 0 and coalesce(s.spent_usd >= s.next_alert_usd, false)
