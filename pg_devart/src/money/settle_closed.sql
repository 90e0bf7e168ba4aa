-- Settles into the closed windows $1: $2 is spent (below 0: was not, after all), $3 is not held any
-- more.
update devart.budget_windows w
set spent_usd = w.spent_usd + $2, held_usd = w.held_usd - $3
where w.id in (
    select l.id from devart.budget_windows l where l.id = any ($1) order by l.id for no key update
)
