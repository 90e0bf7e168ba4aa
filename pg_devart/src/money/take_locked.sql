-- Adds $2 to what is spent and $3 to what is held of the service $1, which is locked and was
-- judged. The last column: whether people must be told; what spends nothing crosses nothing, so
-- what is free stays free at a limit of 0.
update devart.service_registry s
set spent_usd = s.spent_usd + $2, held_usd = s.held_usd + $3
where s.id = $1
returning
    s.window_id, s.spent_usd,
    case when s.hard_limit then s.budget_usd - s.spent_usd - s.held_usd end,
    s.status = 'SUSPENDED',
    $2 > 0 and coalesce(s.spent_usd >= s.next_alert_usd, false)
