-- Makes a hold and its row in the ledger, which has the same id: $1 service, $2 its window, $3
-- budgets, $4 their windows, $5 US dollars, $6 task, $7 agent, $8 attempt, $9 whether it lasts as
-- long as the lease, $10 usage, $11 prices, $12 the service that was asked for, when this one
-- stands in for it, $13 seconds to live, $14 idempotency key, $15 whether the call can go out at
-- once.
with made as (
    insert into devart.holds
        (service_id, window_id, budget_ids, budget_window_ids, amount_usd, task_id, agent_id,
         attempt, follows_lease, usage, prices, delegated_from, dispatched, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $15,
        clock_timestamp() + make_interval(secs => $13))
    returning id, expires_at
),
ledger as (
    insert into devart.charges
        (id, hold_id, service_id, window_id, budget_window_ids, task_id, agent_id, attempt,
         amount_usd, usage, kind, idempotency_key, delegated_from)
    select m.id, m.id, $1, $2, nullif($4, '{}'), $6, $7, $8, $5, $10, 'hold', $14, $12 from made m
)
select m.id, m.expires_at from made m
