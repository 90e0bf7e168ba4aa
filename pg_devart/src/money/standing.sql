-- Whether the service $1 is suspended, and what is left of a hard limit.
select
    s.status = 'SUSPENDED',
    case when s.hard_limit then s.budget_usd - s.spent_usd - s.held_usd end
from devart.service_registry s
where s.id = $1
