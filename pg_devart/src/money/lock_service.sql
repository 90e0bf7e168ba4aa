-- Locks the service $1 and says whether it can be charged $2 US dollars.
select
    s.status::text,
    s.substitute_service_id,
    s.budget_usd is null or not s.hard_limit or s.spent_usd + s.held_usd + round($2, 6) <= s.budget_usd
from devart.service_registry s
where s.id = $1
for no key update
