-- Widening an open hold, for work that takes longer or costs more than was thought. (Who may, what
-- usage costs and what is answered is native: pg_devart/src/money/extend.rs.)

-- Why a hold cannot be widened as it is: its service is out of service, or a window that admitted
-- it has ended, or a limit applies by now that it does not count in. Null when it can. What it
-- counts in is locked.
create or replace function devart_private.extension_hindrance(
    p_hold devart.holds, out code text, out reason text
)
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_service devart.service_registry;
begin
    select s.* into v_service from devart.service_registry s where s.id = p_hold.service_id;
    if v_service.status = 'DISABLED' then
        code := 'service_disabled';
        reason := 'service is disabled';
    elsif v_service.status = 'SUSPENDED' and v_service.window_id = p_hold.window_id then
        code := 'service_suspended';
        reason := 'service is suspended';
    elsif v_service.window_id <> p_hold.window_id or exists (
        select from devart.budgets b
        where b.id = any (p_hold.budget_ids) and b.window_id <> all (p_hold.budget_window_ids)
    ) then
        code := 'reserve_anew';
        reason := 'the window that admitted the hold has ended: reserve anew';
    elsif exists (
        select from devart.budgets b
        where b.id = any (devart_private.budgets_of(p_hold.agent_id, p_hold.task_id))
          and b.hard_limit and b.id <> all (p_hold.budget_ids)
    ) then
        code := 'reserve_anew';
        reason := 'a limit applies that the hold does not count in: reserve anew';
    end if;
end
$$;

-- The limit with the least room of those that a hold counts in, and that room; infinity without a
-- hard one. They are locked.
create or replace function devart_private.tightest_limit_of(
    p_hold devart.holds, out scope devart.budget_scope, out scope_id uuid, out room numeric
)
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    select l.scope, l.id, l.room into scope, scope_id, room
    from (
        select 'service'::devart.budget_scope as scope, s.id,
               devart_private.limit_room(devart_private.limit_of(s)) as room
        from devart.service_registry s where s.id = p_hold.service_id
        union all
        select b.scope, b.id, devart_private.limit_room(devart_private.limit_of(b))
        from devart.budgets b where b.id = any (p_hold.budget_ids)
    ) l
    order by l.room, l.scope limit 1;
end
$$;

-- Adds p_more to what the windows of a hold hold. All are locked; that of a budget which was
-- deleted is among the closed ones.
create or replace function devart_private.hold_more(p_hold devart.holds, p_more numeric)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.budgets b set held_usd = b.held_usd + p_more
    where b.id = any (p_hold.budget_ids) and b.window_id = any (p_hold.budget_window_ids);
    update devart.service_registry s set held_usd = s.held_usd + p_more
    where s.id = p_hold.service_id and s.window_id = p_hold.window_id;
    update devart.budget_windows w set held_usd = w.held_usd + p_more
    where w.id = any (p_hold.budget_window_ids);
end
$$;

-- Locks what an open hold counts in, opens the windows of this moment, and says what stands in the
-- way of p_more US dollars: code and reason, both null when nothing does, and the tightest limit.
create or replace function devart_private.judge_extension(
    p_hold devart.holds, p_more numeric,
    out code text, out reason text, out scope devart.budget_scope, out scope_id uuid,
    out room numeric
)
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_most_held numeric;
    v_has_closed boolean;
    v_may_hold numeric;
begin
    v_most_held := devart_private.setting_number('max_held_usd_per_agent');
    if v_most_held < 1e9 and p_hold.agent_id is not null then
        perform devart_private.lock_holds_of_agent(p_hold.agent_id, true);
    end if;
    perform devart_private.lock_budgets(p_hold.budget_ids, true);
    perform devart_private.lock_services(array[p_hold.service_id], true);
    perform w.id from devart.budget_windows w where w.id = any (p_hold.budget_window_ids)
    order by w.id for no key update;
    v_has_closed := found;
    select t.scope, t.scope_id, t.room into scope, scope_id, room
    from devart_private.tightest_limit_of(p_hold) t;
    select h.code, h.reason into code, reason
    from devart_private.extension_hindrance(p_hold) h;
    if code is not null then
        return;
    end if;
    -- Who has closed windows locked takes no others: those of the holds that would be given back.
    -- So that is left to maintain() then.
    if p_more > room and not v_has_closed then
        perform devart_private.expire_holds_of(array[p_hold.service_id], p_hold.budget_ids);
        select t.scope, t.scope_id, t.room into scope, scope_id, room
        from devart_private.tightest_limit_of(p_hold) t;
    end if;
    if p_hold.amount_usd + p_more >= 1e12 then
        code := 'budget_exceeded';
        reason := 'a hold must be less than a trillion dollars';
    elsif p_more > greatest(room, 0) then
        code := 'budget_exceeded';
        reason := case scope when 'service' then 'budget exceeded'
                  else format('budget of the %s exceeded', scope) end;
    elsif v_most_held < 1e9 then
        v_may_hold := v_most_held - (
            select sum(h.amount_usd) from devart.holds h
            where h.agent_id = p_hold.agent_id and h.status = 'HELD');
        if p_more > v_may_hold then
            code := 'too_much_held';
            reason := 'the agent has too much set aside already';
            scope := 'agent';
            scope_id := p_hold.agent_id;
            room := v_may_hold;
        end if;
    end if;
end
$$;

-- Widens a hold that the caller has locked by p_more US dollars, and lets it last for at least
-- p_ttl_seconds from now. Answers code and reason (null: it is done), the limit that decided, what
-- is left of it (null: no hard limit), and the hold as it is now. Refused, it stays as it was.
create or replace function devart_private.extend_hold(
    p_hold_id uuid, p_more numeric, p_usage jsonb, p_ttl_seconds int,
    out code text, out reason text, out scope text, out scope_id uuid, out remaining_usd numeric,
    out held_usd numeric, out expires_at timestamptz
)
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_hold devart.holds;
    v_judged record;
begin
    select h.* into v_hold from devart.holds h where h.id = p_hold_id;
    scope := 'service';
    scope_id := v_hold.service_id;
    held_usd := case when v_hold.status = 'HELD' then v_hold.amount_usd else 0 end;
    expires_at := v_hold.expires_at;
    if not devart_private.hold_is_alive(v_hold) then
        code := 'hold_over';
        reason := 'the hold is over: reserve anew';
        return;
    end if;
    if p_more > 0 then
        select * into v_judged from devart_private.judge_extension(v_hold, p_more);
        code := v_judged.code;
        reason := v_judged.reason;
        scope := v_judged.scope;
        scope_id := v_judged.scope_id;
        if v_judged.room <> 'infinity' then
            remaining_usd := greatest(v_judged.room, 0);
        end if;
        if code is not null then
            return;
        end if;
        remaining_usd := remaining_usd - p_more;
        perform devart_private.hold_more(v_hold, p_more);
        insert into devart.charges (
            service_id, window_id, budget_window_ids, hold_id, task_id, agent_id, attempt,
            amount_usd, usage, kind, delegated_from, reason
        ) values (
            v_hold.service_id, v_hold.window_id, nullif(v_hold.budget_window_ids, '{}'), v_hold.id,
            v_hold.task_id, v_hold.agent_id, v_hold.attempt, p_more, p_usage, 'hold',
            v_hold.delegated_from, 'extended'
        );
    end if;
    update devart.holds h
    set amount_usd = h.amount_usd + p_more,
        expires_at = greatest(
            h.expires_at, least(
                clock_timestamp() + make_interval(secs => p_ttl_seconds),
                h.created_at + make_interval(
                    secs => devart_private.setting_number('max_hold_seconds')::float8)))
    where h.id = p_hold_id
    returning h.amount_usd, h.expires_at into held_usd, expires_at;
end
$$;
