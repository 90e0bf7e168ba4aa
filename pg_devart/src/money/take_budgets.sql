-- Adds $2 to what is spent and $3 to what is held of the budgets $1, which are locked. Gives each,
-- and whether people must be told (see take_locked.sql).
update devart.budgets b
set spent_usd = b.spent_usd + $2, held_usd = b.held_usd + $3
where b.id = any ($1)
returning b.id, $2 > 0 and coalesce(b.spent_usd >= b.next_alert_usd, false)
