-- The hold $1, locked.
select
    h.service_id, h.window_id, h.budget_ids, h.budget_window_ids, h.amount_usd, h.status::text,
    h.task_id, h.agent_id, h.attempt,
    h.prices, h.delegated_from, h.settlement, h.created_at, h.presumed, h.expires_at
from devart.holds h
where h.id = $1
for no key update
