-- Tells people that the service $1 was suspended.
select devart_private.enqueue('telegram.alert', s.id::text, jsonb_build_object(
    'kind', 'service_suspended', 'service_id', s.id, 'service', s.name,
    'spent_usd', s.spent_usd, 'budget_usd', s.budget_usd))
from devart.service_registry s
where s.id = $1
