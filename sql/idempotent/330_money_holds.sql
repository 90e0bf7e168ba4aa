-- Giving held money back: when it is released, and when it expires. And presuming it spent, where
-- the call may have gone out and nobody says what it cost. (Reserving and settling are native:
-- pg_devart/src/money.)

-- Whether a hold can still be used or widened: open, and its time is not up. That of a claim lasts
-- as long as the lease.
create or replace function devart_private.hold_is_alive(p_hold devart.holds)
returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return p_hold.status = 'HELD' and (
        p_hold.expires_at > clock_timestamp()
        or devart_private.lease_keeps_hold(p_hold));
end
$$;

-- Locks what an agent has set aside against its other reservations, where the setting
-- max_held_usd_per_agent limits it. Before budgets. False when somebody else has it and p_patient
-- is false.
create or replace function devart_private.lock_holds_of_agent(p_agent_id uuid, p_patient boolean)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if not p_patient then
        return devart_private.try_lock(hashtextextended('devart holds ' || p_agent_id, 0));
    end if;
    perform devart_private.take_lock(hashtextextended('devart holds ' || p_agent_id, 0));
    return true;
end
$$;

-- Locks what admitted these holds: budgets, services and closed windows, each by id. The caller has
-- locked the holds.
create or replace function devart_private.lock_scopes_of_holds(p_ids uuid[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
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
end
$$;

-- Closes holds that the caller has locked and that are still HELD, and gives their money back to
-- the windows that admitted them. Lets waiting tasks go that can now be paid. Returns how many.
create or replace function devart_private.release_holds(p_ids uuid[], p_status devart.hold_status)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_scope_id uuid;
    v_count int;
begin
    perform devart_private.lock_scopes_of_holds(p_ids);
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
    perform devart_private.unhold(p_ids, false);

    for v_scope_id in
        select distinct u from devart.holds h, unnest(h.service_id || h.budget_ids) u
        where h.id = any (p_ids)
    loop
        perform devart_private.wake_waiting(v_scope_id);
    end loop;
    return v_count;
end
$$;

-- Settles holds that the caller has locked and that are still HELD at what they hold, as nobody has
-- said what their calls cost: an agent that died after its call has spent the money. Whoever
-- settles one later says so, and the difference is adjusted. Returns how many.
create or replace function devart_private.presume_holds(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    perform devart_private.lock_scopes_of_holds(p_ids);
    update devart.holds h
    set status = 'SETTLED', presumed = true, closed_at = clock_timestamp()
    where h.id = any (p_ids) and h.status = 'HELD';
    get diagnostics v_count = row_count;
    insert into devart.charges (
        service_id, window_id, budget_window_ids, hold_id, task_id, agent_id, attempt, amount_usd,
        kind, delegated_from, reason
    )
    select h.service_id, h.window_id, nullif(h.budget_window_ids, '{}'), h.id, h.task_id,
           h.agent_id, h.attempt, h.amount_usd, 'settle', h.delegated_from, 'presumed'
    from devart.holds h where h.id = any (p_ids);
    perform devart_private.unhold(p_ids, true);
    perform devart_private.tell_of_windows(array(
        select distinct u from devart.holds h, unnest(h.window_id || h.budget_window_ids) u
        where h.id = any (p_ids) and h.amount_usd > 0));
    return v_count;
end
$$;

-- What follows from spending in these windows, those that are still open: alerts and suspensions.
-- The limits are locked. Budgets first.
create or replace function devart_private.tell_of_windows(p_window_ids uuid[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.limit_reached(devart_private.limit_of(b)) from devart.budgets b
    where b.window_id = any (p_window_ids) and b.spent_usd >= b.next_alert_usd;
    perform devart_private.limit_reached(devart_private.limit_of(s))
    from devart.service_registry s
    where s.window_id = any (p_window_ids) and s.spent_usd >= s.next_alert_usd;
end
$$;

drop function if exists devart_private.unhold(uuid[]);

-- Subtracts the amounts of these holds from what the windows that admitted them hold, open or
-- closed, and adds them to what is spent if they are (p_spent). All are locked.
create or replace function devart_private.unhold(p_ids uuid[], p_spent boolean)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.budgets b
    set held_usd = b.held_usd - f.freed, spent_usd = b.spent_usd + f.freed * p_spent::int
    from (select u.window_id, sum(h.amount_usd) as freed
          from devart.holds h, unnest(h.budget_window_ids) as u (window_id)
          where h.id = any (p_ids) group by u.window_id) f
    where b.window_id = f.window_id;
    update devart.service_registry s
    set held_usd = s.held_usd - f.freed, spent_usd = s.spent_usd + f.freed * p_spent::int
    from (select h.window_id, sum(h.amount_usd) as freed from devart.holds h
          where h.id = any (p_ids) group by h.window_id) f
    where s.window_id = f.window_id;
    update devart.budget_windows w
    set held_usd = w.held_usd - f.freed, spent_usd = w.spent_usd + f.freed * p_spent::int
    from (select u.window_id, sum(h.amount_usd) as freed
          from devart.holds h, unnest(h.window_id || h.budget_window_ids) as u (window_id)
          where h.id = any (p_ids) group by u.window_id) f
    where w.id = f.window_id;
end
$$;

-- Releases due holds of these services and budgets because somebody needs the money now: those
-- whose call did not go out, since no other gives money back. Takes only what it can lock without
-- waiting; the rest is maintain()'s. One that meets an error is put off: whoever needs the money
-- has nothing to do with it.
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
        where h.status = 'HELD' and not h.dispatched and h.expires_at <= clock_timestamp()
          and h.id <> all (v_put_off)
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

-- The hold of a claim lasts as long as its worker has the task: the lease is what expires then.
create or replace function devart_private.lease_keeps_hold(p_hold devart.holds)
returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return p_hold.follows_lease and exists (
        select from devart.tasks t
        where t.id = p_hold.task_id and t.status = 'IN_PROGRESS' and t.attempt = p_hold.attempt
          and t.lease_expires_at > clock_timestamp());
end
$$;

-- Puts the time of such holds off, so that they are not looked at again and again.
create or replace function devart_private.keep_holds_of_live_leases(p_limit int)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    update devart.holds h
    set expires_at = least(t.lease_expires_at, '2999-12-31 00:00+00') + interval '1 minute'
    from devart.tasks t
    where h.id in (
        select d.id from devart.holds d
        where d.status = 'HELD' and d.dispatched = any ('{false,true}') and d.follows_lease
          and d.expires_at <= clock_timestamp()
        order by d.expires_at limit p_limit
        for no key update skip locked
    )
      and t.id = h.task_id and t.status = 'IN_PROGRESS' and t.attempt = h.attempt
      and t.lease_expires_at > now()
$$;

-- Ends these holds, whose time is up: what cannot have been spent is given back, what can have been
-- is presumed spent. Budgets, services and windows of all are locked first, in their order.
create or replace function devart_private.expire_these_holds(p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_dispatched uuid[] := array(
        select h.id from devart.holds h where h.id = any (p_ids) and h.dispatched);
    v_others uuid[] := array(
        select h.id from devart.holds h where h.id = any (p_ids) and not h.dispatched);
    v_count int := 0;
begin
    perform devart_private.lock_scopes_of_holds(p_ids);
    if v_dispatched <> '{}' then
        v_count := devart_private.presume_holds(v_dispatched);
    end if;
    if v_others <> '{}' then
        v_count := v_count + devart_private.release_holds(v_others, 'EXPIRED');
    end if;
    return v_count;
end
$$;

-- The holds whose time is up, up to p_limit of them, locked as far as nobody else has them.
create or replace function devart_private.due_holds(p_dispatched boolean, p_limit int)
returns uuid[] language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_put_off uuid[] := devart_private.put_off('expire_these_holds');
begin
    return array(
        select h.id from devart.holds h
        where h.status = 'HELD' and h.dispatched = p_dispatched
          and h.expires_at <= clock_timestamp() and h.id <> all (v_put_off)
          and not devart_private.lease_keeps_hold(h)
        order by h.expires_at limit p_limit
        for no key update skip locked);
end
$$;

-- Ends holds whose time is up: up to p_limit of those whose call went out, and as many of the
-- others.
create or replace function devart_private.expire_holds(p_limit int)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.keep_holds_of_live_leases(p_limit);
    return devart_private.do_rows(
        'expire_these_holds',
        devart_private.due_holds(true, p_limit) || devart_private.due_holds(false, p_limit));
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
    v_count int;
begin
    update devart.holds h set expires_at = clock_timestamp()
    where h.id in (
        select o.id from devart.holds o
        where o.status = 'HELD' and o.expires_at > clock_timestamp() + interval '10 minutes'
          and not (o.follows_lease and o.attempt is null)
          and (
              exists (
                  select from devart.agents a
                  where a.id = o.agent_id and a.status = 'DEACTIVATED')
              or o.attempt is not null and not exists (
                  select from devart.tasks t
                  where t.id = o.task_id and t.status = 'IN_PROGRESS' and t.attempt = o.attempt))
        order by o.id limit p_limit
        for no key update skip locked);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- The hold of a task that left its worker is over at once; expire_holds, and for whoever needs its
-- money reserve_charge, do what follows. Not done here: a completion would have to lock the
-- service's row, which others charge.
create or replace function devart_private.end_holds_of_task(p_task_id uuid)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    update devart.holds h set expires_at = clock_timestamp()
    where h.task_id = p_task_id and h.status = 'HELD' and h.expires_at > clock_timestamp()
$$;
