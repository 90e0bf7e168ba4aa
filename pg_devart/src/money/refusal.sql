-- The answer when neither the service $1 nor a substitute can be charged; $2: why.
select jsonb_build_object(
    'success', false, 'charged_service_id', null, 'delegated', false,
    'suspended', s.status = 'SUSPENDED', 'spent_usd', s.spent_usd,
    'remaining_usd', greatest(s.budget_usd - s.spent_usd - s.held_usd, 0), 'reason', $2)
from devart.service_registry s
where s.id = $1
