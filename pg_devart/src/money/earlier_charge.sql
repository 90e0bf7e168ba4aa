-- The charge made under the idempotency key $1, as an answer, and whether it was this request:
-- $2 US dollars to service $3, for task $4.
select
    c.amount_usd = round($2, 6) and coalesce(c.delegated_from, c.service_id) = $3 and c.task_id is not distinct from $4,
    jsonb_build_object(
        'success', true, 'charged_service_id', c.service_id, 'delegated', c.delegated_from is not null,
        'suspended', s.status = 'SUSPENDED', 'spent_usd', s.spent_usd,
        'remaining_usd', greatest(s.budget_usd - s.spent_usd - s.held_usd, 0), 'reason', null)
from devart.charges c
join devart.service_registry s on s.id = c.service_id
where c.idempotency_key = $1
