-- The login of Grafana, which only reads. Has no password until an operator gives it one.

do $$
begin
    create role devart_grafana login noinherit;
    -- Whoever may edit a dashboard may write any SQL: neither a change nor a query without end by mistake.
    -- (A session can undo both; what it cannot undo are grants and policies.)
    alter role devart_grafana set default_transaction_read_only = on;
    alter role devart_grafana set statement_timeout = '30s';
    -- Under row level security the planner may not look at statistics of status, takes half of all tasks for waiting,
    -- and would read millions of finished ones to count them. And what people watch takes one processor at most.
    alter role devart_grafana set enable_seqscan = off;
    alter role devart_grafana set max_parallel_workers_per_gather = 0;
    alter role devart_grafana set jit = off;
exception when duplicate_object or unique_violation then
    -- Roles belong to the whole cluster: another database of it has made it already.
    null;
end
$$;
