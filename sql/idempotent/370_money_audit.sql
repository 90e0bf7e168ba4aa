-- Whether the ledger and the windows agree.

-- The rows that break rule 12 of the budgets: for every window, open or closed, of every scope,
--   spent_usd = settle + overage + adjustment, and
--   held_usd = hold - release - (settle rows that have a hold) = what its open holds amount to.
-- Empty when all is well.
create or replace function devart_private.audit_budgets()
returns table (
    scope devart.budget_scope, scope_id uuid, window_id uuid, problem text, recorded_usd numeric,
    expected_usd numeric
)
language sql stable
set search_path = pg_catalog, pg_temp as $$
    with windows as (
        select 'service'::devart.budget_scope as scope, s.id as scope_id, s.window_id,
               s.spent_usd, s.held_usd
        from devart.service_registry s
        union all
        select b.scope, b.scope_id, b.window_id, b.spent_usd, b.held_usd from devart.budgets b
        union all
        select w.scope, w.scope_id, w.id, w.spent_usd, w.held_usd from devart.budget_windows w
    ),
    ledger as (
        select u.window_id,
            coalesce(sum(c.amount_usd) filter (
                where c.kind in ('settle', 'overage', 'adjustment')), 0) as spent_usd,
            coalesce(sum(case
                when c.kind = 'hold' then c.amount_usd
                when c.kind = 'release' or (c.kind = 'settle' and c.hold_id is not null)
                    then -c.amount_usd
            end), 0) as held_usd
        from devart.charges c,
            unnest(c.window_id || coalesce(c.budget_window_ids, '{}')) as u (window_id)
        group by u.window_id
    ),
    open_holds as (
        select u.window_id, sum(h.amount_usd) as held_usd
        from devart.holds h, unnest(h.window_id || h.budget_window_ids) as u (window_id)
        where h.status = 'HELD'
        group by u.window_id
    )
    select w.scope, w.scope_id, coalesce(w.window_id, l.window_id, o.window_id), v.problem,
           v.recorded_usd, v.expected_usd
    from windows w
    full join ledger l on l.window_id = w.window_id
    full join open_holds o on o.window_id = coalesce(w.window_id, l.window_id)
    cross join lateral (values
        ('spent_usd is not what the ledger says', w.spent_usd, coalesce(l.spent_usd, 0)),
        ('held_usd is not what the ledger says', w.held_usd, coalesce(l.held_usd, 0)),
        ('held_usd is not what the open holds say', w.held_usd, coalesce(o.held_usd, 0))
    ) as v (problem, recorded_usd, expected_usd)
    where v.recorded_usd is distinct from v.expected_usd
$$;
