    -- What a worker is told after it changed the task t. In the order in which outcome.rs reads
    -- them.
    t.status::text, t.run_at, t.lease_expires_at
