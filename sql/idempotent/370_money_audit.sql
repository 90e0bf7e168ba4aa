-- Whether the ledger and the windows agree.

-- The rows that break rule 12 of the budgets: for every window, open or closed, of every scope,
--   spent_usd = settle + overage + adjustment, and
--   held_usd = hold - release - (settle rows that have a hold) = what its open holds amount to;
-- for every hold,
--   what it holds while it is open, else nothing = hold - release - settle of its own rows,
--   what is presumed of it = what was held, and no dispatched one expired without;
-- and no row of what was spent is corrected to less than nothing. Empty when all is well.
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
    ),
    holds as (
        select h.id, h.service_id, h.window_id, h.status, h.dispatched, h.presumed, h.amount_usd,
            coalesce(sum(case
                when c.kind = 'hold' then c.amount_usd
                when c.kind in ('release', 'settle') then -c.amount_usd
            end), 0) as open_usd,
            coalesce(sum(c.amount_usd) filter (where c.kind not in ('hold', 'release')), 0)
                as spent_usd
        from devart.holds h left join devart.charges c on c.hold_id = h.id
        group by h.id
    ),
    corrected as (
        select c.service_id, c.window_id, c.id, c.amount_usd + sum(a.amount_usd) as amount_usd
        from devart.charges a join devart.charges c on c.id = a.corrects
        group by c.id
    )
    select 'service'::devart.budget_scope, h.service_id, h.window_id,
           format('hold %s %s', h.id, v.problem), v.recorded_usd, v.expected_usd
    from holds h
    cross join lateral (values
        ('is not what the ledger says',
         case when h.status = 'HELD' then h.amount_usd else 0 end, h.open_usd),
        ('is presumed to have cost something else than was held',
         case when h.presumed then h.spent_usd end, case when h.presumed then h.amount_usd end),
        ('was dispatched and expired as if it had cost nothing',
         case when h.status = 'EXPIRED' and h.dispatched then 0 end,
         case when h.status = 'EXPIRED' and h.dispatched then h.amount_usd end)
    ) as v (problem, recorded_usd, expected_usd)
    where v.recorded_usd is distinct from v.expected_usd
    union all
    select 'service', c.service_id, c.window_id,
           format('charge %s is corrected to less than nothing', c.id), c.amount_usd, 0
    from corrected c where c.amount_usd < 0
    union all
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
