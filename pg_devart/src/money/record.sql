-- Appends to the ledger: $1 service, $2 its window, $3 windows of budgets, $4 hold, $5 task, $6
-- agent, $7 attempt, $8 US dollars, $9 usage, $10 kind, $11 idempotency key, $12 the service that
-- was asked for, when this one stands in for it, $13 the row that this one corrects, $14 why.
insert into devart.charges
    (service_id, window_id, budget_window_ids, hold_id, task_id, agent_id, attempt, amount_usd,
     usage, kind, idempotency_key, delegated_from, corrects, reason)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::devart.charge_kind, $11, $12, $13, $14)
