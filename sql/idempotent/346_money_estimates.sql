-- What calls cost lately, for those whose caller gives no estimate: kept by maintain(), never
-- reckoned while reserving.

-- The kind of a task, of which each call is thought to cost alike: its template, or else the set of
-- capabilities that it requires.
create or replace function devart_private.cost_kind(p_template_id uuid, p_lane_id int)
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select coalesce('template ' || p_template_id, 'lane ' || p_lane_id)
$$;

-- The 95th percentile of what a call of this service cost in the last 30 days (its latest 10,000
-- rows of the ledger, at most), for each kind of task and, as '', for all together.
create or replace function devart_private.recent_costs(p_service_id uuid)
returns table (kind text, p95_usd numeric, calls int) language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recent as (
        select coalesce(c.hold_id, c.id) as call_id, c.task_id, c.amount_usd
        from devart.charges c
        where c.service_id = p_service_id and c.created_at > now() - interval '30 days'
          and c.kind in ('settle', 'overage', 'adjustment')
        order by c.created_at desc
        limit 10000
    ), calls as (
        select (array_agg(r.task_id))[1] as task_id, greatest(sum(r.amount_usd), 0) as cost
        from recent r group by r.call_id
    )
    select k.kind, percentile_disc(0.95) within group (order by c.cost), count(*)::int
    from calls c
    left join devart.tasks t on t.id = c.task_id
    cross join lateral (
        values (''), (devart_private.cost_kind(t.template_id, t.lane_id))) as k (kind)
    where k.kind is not null
    group by k.kind
$$;

-- Reckons anew for these services. Returns how many.
create or replace function devart_private.refresh_estimates_of(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    delete from devart_private.cost_estimates e where e.service_id = any (p_ids);
    insert into devart_private.cost_estimates (service_id, kind, p95_usd, calls)
    select u.id, r.kind, r.p95_usd, r.calls
    from unnest(p_ids) as u (id) cross join lateral devart_private.recent_costs(u.id) r;
    insert into devart_private.estimate_runs as r (service_id) select unnest(p_ids)
    on conflict (service_id) do update set reckoned_at = now();
    return cardinality(p_ids);
end
$$;

-- The same for so many services for which it was last done ten minutes ago or more.
create or replace function devart_private.refresh_estimates(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('refresh_estimates_of');
begin
    return devart_private.do_rows('refresh_estimates_of', array(
        select s.id
        from devart.service_registry s
        left join devart_private.estimate_runs r on r.service_id = s.id
        where coalesce(r.reckoned_at < now() - interval '10 minutes', true)
          and s.id <> all (v_put_off)
        order by r.reckoned_at nulls first
        limit p_limit));
end
$$;
