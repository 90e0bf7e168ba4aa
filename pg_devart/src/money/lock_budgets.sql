-- The budgets $1 in their open windows, locked in id order; $2: whether to wait for those that
-- somebody else has locked.
select b.id, b.scope::text, b.hard_limit, b.budget_usd, b.spent_usd + b.held_usd, b.window_id
from devart_private.lock_budgets($1, $2) b
order by b.id
