-- Giving held money back: when it is released, and when it expires. (Reserving and settling are
-- native: pg_devart/src/money.)

-- Closes holds that the caller has locked and that are still HELD, and gives their money back to
-- the windows that admitted them. Lets waiting tasks go that can now be paid. Returns how many.
create or replace function devart_private.release_holds(p_ids uuid[], p_status devart.hold_status)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_scope_id uuid;
    v_count int;
begin
    perform b.id from devart.budgets b
    where b.id in (select unnest(h.budget_ids) from devart.holds h where h.id = any (p_ids))
    order by b.id for no key update;
    perform s.id from devart.service_registry s
    where s.id in (select h.service_id from devart.holds h where h.id = any (p_ids))
    order by s.id for no key update;
    perform w.id from devart.budget_windows w
    where w.id in (
        select u from devart.holds h, unnest(h.window_id || h.budget_window_ids) u
        where h.id = any (p_ids))
    order by w.id for no key update;

    update devart.holds h set status = p_status, closed_at = clock_timestamp()
    where h.id = any (p_ids) and h.status = 'HELD';
    get diagnostics v_count = row_count;
    insert into devart.charges (
        service_id, window_id, budget_window_ids, hold_id, task_id, agent_id, attempt, amount_usd,
        kind, delegated_from
    )
    select h.service_id, h.window_id, nullif(h.budget_window_ids, '{}'), h.id, h.task_id,
           h.agent_id, h.attempt, h.amount_usd, 'release', h.delegated_from
    from devart.holds h where h.id = any (p_ids);
    perform devart_private.unhold(p_ids);

    for v_scope_id in
        select distinct u from devart.holds h, unnest(h.service_id || h.budget_ids) u
        where h.id = any (p_ids)
    loop
        perform devart_private.wake_waiting(v_scope_id);
    end loop;
    return v_count;
end
$$;

-- Subtracts the amounts of these holds from the windows that admitted them, open or closed. All are
-- locked.
create or replace function devart_private.unhold(p_ids uuid[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.budgets b set held_usd = b.held_usd - f.freed
    from (select u.window_id, sum(h.amount_usd) as freed
          from devart.holds h, unnest(h.budget_window_ids) as u (window_id)
          where h.id = any (p_ids) group by u.window_id) f
    where b.window_id = f.window_id;
    update devart.service_registry s set held_usd = s.held_usd - f.freed
    from (select h.window_id, sum(h.amount_usd) as freed from devart.holds h
          where h.id = any (p_ids) group by h.window_id) f
    where s.window_id = f.window_id;
    update devart.budget_windows w set held_usd = w.held_usd - f.freed
    from (select u.window_id, sum(h.amount_usd) as freed
          from devart.holds h, unnest(h.window_id || h.budget_window_ids) as u (window_id)
          where h.id = any (p_ids) group by u.window_id) f
    where w.id = f.window_id;
end
$$;

-- Releases due holds of these services and budgets because somebody needs the money now. Takes only
-- what it can lock without waiting; the rest is maintain()'s. One that meets an error is put off:
-- whoever needs the money has nothing to do with it.
create or replace function devart_private.expire_holds_of(p_service_ids uuid[], p_budget_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_due uuid[];
    v_services uuid[];
    v_budgets uuid[];
    v_put_off uuid[] := devart_private.put_off('expire_these_holds');
begin
    perform devart_private.keep_holds_of_live_leases(100);
    v_due := array(
        select h.id from devart.holds h
        where h.status = 'HELD' and h.expires_at <= clock_timestamp() and h.id <> all (v_put_off)
          and not devart_private.lease_keeps_hold(h)
          and (h.service_id = any (p_service_ids) or h.budget_ids && p_budget_ids)
        order by h.expires_at limit 100
        for no key update skip locked);
    if v_due = '{}' then
        return 0;
    end if;
    v_budgets := array(
        select b.id from devart.budgets b
        where b.id in (select unnest(h.budget_ids) from devart.holds h where h.id = any (v_due))
        for no key update skip locked);
    v_services := array(
        select s.id from devart.service_registry s
        where s.id in (select h.service_id from devart.holds h where h.id = any (v_due))
        for no key update skip locked);
    v_due := array(
        select h.id from devart.holds h
        where h.id = any (v_due) and h.service_id = any (v_services) and h.budget_ids <@ v_budgets);
    return devart_private.do_rows('expire_these_holds', v_due);
end
$$;

drop function if exists devart_private.keep_holds_of_live_leases(int);

-- The hold of a claim lasts as long as its worker has the task: the lease is what expires then.
create or replace function devart_private.lease_keeps_hold(p_hold devart.holds)
returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return p_hold.follows_lease and exists (
        select from devart.tasks t
        where t.id = p_hold.task_id and t.status = 'IN_PROGRESS' and t.attempt = p_hold.attempt
          and t.lease_expires_at > now());
end
$$;

-- Puts the time of these holds off until after their leases.
create or replace function devart_private.keep_holds(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.holds h
    set expires_at = least(t.lease_expires_at, '2999-12-31 00:00+00') + interval '1 minute'
    from devart.tasks t
    where h.id = any (p_ids) and t.id = h.task_id;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Puts off what living leases keep, so that it is not looked at again and again.
create or replace function devart_private.keep_holds_of_live_leases(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('keep_holds');
begin
    return devart_private.do_rows('keep_holds', array(
        select h.id from devart.holds h
        where h.status = 'HELD' and h.follows_lease and h.expires_at <= clock_timestamp()
          and h.id <> all (v_put_off) and devart_private.lease_keeps_hold(h)
        order by h.expires_at limit p_limit
        for no key update skip locked));
end
$$;

-- Releases these holds, whose time is up.
create or replace function devart_private.expire_these_holds(p_ids uuid[])
returns int language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.release_holds(p_ids, 'EXPIRED')
$$;

-- Releases holds whose time is up.
create or replace function devart_private.expire_holds(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('expire_these_holds');
begin
    perform devart_private.keep_holds_of_live_leases(p_limit);
    return devart_private.do_rows('expire_these_holds', array(
        select h.id from devart.holds h
        where h.status = 'HELD' and h.expires_at <= clock_timestamp() and h.id <> all (v_put_off)
          and not devart_private.lease_keeps_hold(h)
        order by h.expires_at limit p_limit
        for no key update skip locked
    ));
end
$$;

-- Makes these holds due.
create or replace function devart_private.end_holds(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    update devart.holds h set expires_at = clock_timestamp() where h.id = any (p_ids);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Makes holds due that nobody can settle any more, of an agent that was taken out of service or a
-- task that left its worker: whoever ended those could not see a hold that was just being made. Of
-- those that would not be due soon anyway; and not what people granted to a task, which has no
-- attempt. Returns how many.
create or replace function devart_private.end_orphaned_holds(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('end_holds');
begin
    return devart_private.do_rows('end_holds', array(
        select o.id from devart.holds o
        where o.status = 'HELD' and o.expires_at > clock_timestamp() + interval '10 minutes'
          and o.id <> all (v_put_off)
          and not (o.follows_lease and o.attempt is null)
          and (
              exists (
                  select from devart.agents a
                  where a.id = o.agent_id and a.status = 'DEACTIVATED')
              or o.attempt is not null and not exists (
                  select from devart.tasks t
                  where t.id = o.task_id and t.status = 'IN_PROGRESS' and t.attempt = o.attempt))
        order by o.id limit p_limit
        for no key update skip locked));
end
$$;

-- The money of a task that left its worker is free at once for whoever needs it: expire_holds and
-- reserve_charge give it back. Not given back here: a completion would have to lock the service's
-- row, which others charge.
create or replace function devart_private.end_holds_of_task(p_task_id uuid)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    update devart.holds h set expires_at = clock_timestamp()
    where h.task_id = p_task_id and h.status = 'HELD' and h.expires_at > clock_timestamp()
$$;
