    -- What a worker is told of the task t that it gets, and what the task is estimated to cost when
    -- it costs money. In the order in which claimed.rs reads them.
    t.id, t.title, t.description, t.priority::text, t.payload, t.attempt, t.lease_token,
    t.lease_expires_at, t.service_id, t.workflow_run_id, t.traceparent,
    case when t.service_id is not null then t.estimated_cost_usd end
