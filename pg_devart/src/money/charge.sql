-- Charges $2 US dollars to the service $1, which is locked: the ledger row, the sum, and suspension
-- when the sum reaches a hard limit, together. $3: task_id, $4: idempotency_key, $5: the service that
-- was asked for, when this one stands in for it, $6: agent_id.
with charged as (
    update devart.service_registry s
    set spent_usd = s.spent_usd + round($2, 6),
        status = case when s.hard_limit and s.spent_usd + round($2, 6) >= s.budget_usd
            then 'SUSPENDED' else s.status end
    where s.id = $1
    returning s.*
),
ledger as (
    insert into devart.charges
        (service_id, task_id, agent_id, attempt, amount_usd, kind, idempotency_key, delegated_from)
    select $1, $3, coalesce($6, t.agent_id), t.attempt, round($2, 6), 'settle', $4, $5
    from (select) as one left join devart.tasks t on t.id = $3
)
select
    jsonb_build_object(
        'success', true, 'charged_service_id', c.id, 'delegated', $5 is not null,
        'suspended', c.status = 'SUSPENDED', 'spent_usd', c.spent_usd,
        'remaining_usd', greatest(c.budget_usd - c.spent_usd - c.held_usd, 0), 'reason', null),
    c.status = 'SUSPENDED'
from charged c
