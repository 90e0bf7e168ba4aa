-- Settles into the open windows among $1, of the budgets $4: $2 is spent (below 0: was not, after
-- all), $3 is not held any more. The budgets are locked. Gives each, its window, and whether people
-- must be told (see take_locked.sql).
update devart.budgets b
set spent_usd = b.spent_usd + $2, held_usd = b.held_usd - $3
where b.id = any ($4) and b.window_id = any ($1)
returning
    b.id, b.window_id, $2 > 0 and coalesce(b.spent_usd >= b.next_alert_usd, false)
