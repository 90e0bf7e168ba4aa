-- The login of Grafana, which only reads. Has no password until an operator gives it one.

do $$
begin
    create role devart_grafana login noinherit;
    -- Whoever may edit a dashboard may write any SQL: neither a change nor a query without end by mistake.
    -- (A session can undo both; what it cannot undo are grants and policies.)
    alter role devart_grafana set default_transaction_read_only = on;
    alter role devart_grafana set statement_timeout = '30s';
exception when duplicate_object or unique_violation then
    -- Roles belong to the whole cluster: another database of it has made it already.
    null;
end
$$;
