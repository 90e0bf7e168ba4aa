-- Correcting what was charged wrongly: an adjustment in the windows of the charge.

-- Locks these windows with their limits: budgets, the service, closed windows, each by id. Returns
-- the budgets whose window is open.
create or replace function devart_private.lock_windows(p_service_id uuid, p_window_ids uuid[])
returns uuid[] language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_budget_ids uuid[];
begin
    v_budget_ids := array(
        select b.id from devart.budgets b where b.window_id = any (p_window_ids)
        order by b.id for no key update);
    perform s.id from devart.service_registry s where s.id = p_service_id for no key update;
    perform w.id from devart.budget_windows w where w.id = any (p_window_ids)
    order by w.id for no key update;
    return v_budget_ids;
end
$$;

-- Adds p_by to what these windows have spent, which are locked with their limits; and lets follow
-- what follows: alerts and suspensions when it is more; when it is less, the end of a suspension,
-- and that tasks go which wait for money.
create or replace function devart_private.adjust_windows(
    p_service_id uuid, p_budget_ids uuid[], p_window_ids uuid[], p_by numeric
)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.budgets b set spent_usd = b.spent_usd + p_by
    where b.id = any (p_budget_ids);
    update devart.service_registry s set spent_usd = s.spent_usd + p_by
    where s.id = p_service_id and s.window_id = any (p_window_ids);
    update devart.budget_windows w set spent_usd = w.spent_usd + p_by
    where w.id = any (p_window_ids);
    if p_by > 0 then
        perform devart_private.tell_of_windows(p_window_ids);
    else
        perform devart_private.service_relieved(p_service_id);
        perform devart_private.wake_waiting(u.id)
        from unnest(p_budget_ids || p_service_id) as u (id);
    end if;
end
$$;

-- What a row of the ledger comes to with its corrections.
create or replace function devart_private.corrected_amount(p_charge_id uuid)
returns numeric language sql stable
set search_path = pg_catalog, pg_temp as $$
    select sum(c.amount_usd) from devart.charges c
    where c.id = p_charge_id or c.corrects = p_charge_id
$$;

-- An amount of money that people say, rounded up to a millionth. Errors: 22023.
create or replace function devart_private.said_amount(p_field text, p_amount numeric)
returns numeric language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    if p_amount is null then
        perform devart_private.refuse_argument(p_field, 'must be given');
    end if;
    perform devart_private.check_amount(p_field, p_amount, 1e12);
    if p_amount < 0 then
        perform devart_private.refuse_argument(p_field, 'must not be negative');
    end if;
    if p_amount > 999999999999.999999 then
        perform devart_private.refuse_argument(p_field, 'must be less than a trillion');
    end if;
    return round(ceil(p_amount * 1000000) / 1000000, 6);
end
$$;

-- The row of the ledger to correct, with its hold locked. Errors: P0002, 55000.
create or replace function devart_private.charge_to_correct(p_charge_id uuid)
returns devart.charges language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_charge devart.charges;
begin
    select c.* into v_charge from devart.charges c where c.id = p_charge_id;
    if not found then
        perform devart_private.refuse_argument(
            'charge_id', format('names no charge: %s', p_charge_id), 'P0002');
    end if;
    if v_charge.kind not in ('settle', 'overage') then
        perform devart_private.refuse_argument(
            'charge_id',
            format('names a row of kind %s, not one of what was spent', v_charge.kind), '55000');
    end if;
    perform h.id from devart.holds h where h.id = v_charge.hold_id for no key update;
    return v_charge;
end
$$;

-- Appends the adjustment of a charge by p_by, and its note in the audit log. Returns its id.
create or replace function devart_private.record_correction(
    p_charge devart.charges, p_before numeric, p_by numeric, p_reason text
)
returns uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
begin
    insert into devart.charges as a (
        service_id, window_id, budget_window_ids, hold_id, task_id, agent_id, attempt, amount_usd,
        kind, delegated_from, corrects, reason
    ) values (
        p_charge.service_id, p_charge.window_id, p_charge.budget_window_ids, p_charge.hold_id,
        p_charge.task_id, p_charge.agent_id, p_charge.attempt, p_by, 'adjustment',
        p_charge.delegated_from, p_charge.id, p_reason
    )
    returning a.id into v_id;
    insert into devart.audit_log (actor, action, table_name, row_id, before, after)
    values (devart_private.actor(), 'correct', 'charges', p_charge.id::text,
            jsonb_build_object('amount_usd', p_before),
            jsonb_build_object('amount_usd', p_before + p_by, 'reason', p_reason));
    return v_id;
end
$$;

-- Says what a charge (a row of devart.charges of kind settle or overage) really came to: the
-- difference is an adjustment in the windows of the charge, and a service that the wrong amount
-- suspended is in service again. reason: 1 to 1000 characters. What was presumed of a hold and is
-- corrected so stays as people said, also when the agent settles it after all. Said again, it
-- changes nothing.
-- Answers charge_id, before_usd, amount_usd, adjustment_id (null: nothing changed), service_id,
-- suspended, remaining_usd (of the service; null: no hard limit).
-- Errors: P0002 no such charge, 55000 not one of what was spent, 22023 an argument makes no sense,
-- 42501 not an admin.
create or replace function devart.correct_charge(charge_id uuid, amount_usd numeric, reason text)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_amount numeric;
    v_charge devart.charges;
    v_windows uuid[];
    v_budgets uuid[];
    v_before numeric;
    v_adjustment_id uuid;
begin
    perform devart_private.require_admin();
    v_amount := devart_private.said_amount('amount_usd', correct_charge.amount_usd);
    if coalesce(char_length(btrim(correct_charge.reason)), 0) not between 1 and 1000 then
        perform devart_private.refuse_argument('reason', 'must be 1 to 1000 characters long');
    end if;
    v_charge := devart_private.charge_to_correct(correct_charge.charge_id);
    v_windows := v_charge.window_id || coalesce(v_charge.budget_window_ids, '{}');
    v_budgets := devart_private.lock_windows(v_charge.service_id, v_windows);
    v_before := devart_private.corrected_amount(v_charge.id);
    if v_amount <> v_before then
        v_adjustment_id := devart_private.record_correction(
            v_charge, v_before, v_amount - v_before, btrim(correct_charge.reason));
        perform devart_private.adjust_windows(
            v_charge.service_id, v_budgets, v_windows, v_amount - v_before);
    end if;
    update devart.holds h
    set presumed = false, settlement = jsonb_build_object('corrected_usd', v_amount)
    where h.id = v_charge.hold_id and h.status = 'SETTLED'
      and (h.presumed or h.settlement ? 'corrected_usd');
    return (
        select jsonb_build_object(
            'charge_id', v_charge.id, 'before_usd', v_before, 'amount_usd', v_amount,
            'adjustment_id', v_adjustment_id, 'service_id', s.id,
            'suspended', s.status = 'SUSPENDED',
            'remaining_usd', case when s.hard_limit and s.budget_usd is not null
                then greatest(s.budget_usd - s.spent_usd - s.held_usd, 0) end)
        from devart.service_registry s where s.id = v_charge.service_id);
end
$$;
