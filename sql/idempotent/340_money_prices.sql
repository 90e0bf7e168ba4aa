-- Prices: an admin sets one from a moment on, which ends the one before; ends one; or corrects one
-- that is wrong, its start as well. What was charged at a wrong price, correct_charge corrects.

-- Refuses what is no price: no number, too much, or more than nothing and yet rounded to nothing,
-- since what costs something is never free. Errors: 22023.
create or replace function devart_private.check_price(p_price numeric)
returns void language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.check_amount('usd_per_unit', p_price, 1e12);
    if p_price <> 0 and round(p_price, 12) = 0 then
        perform devart_private.refuse_argument(
            'usd_per_unit', 'must be 0 or at least 0.000000000001');
    end if;
end
$$;

-- Sets what a unit of a service costs from effective_from (US dollars, at most twelve decimals;
-- null: now) until further notice. Holds that are already made keep the price that they were made
-- with. above_units, usd_per_unit_above: in a call (one hold or settlement) that uses more than so
-- many, each of them costs that, which is not less; both or neither.
-- Errors: P0002 no such service, 22023 effective_from is no sensible time or not after the price
-- before it, or a price or threshold is no number, one of the two is missing or not dearer, 23514
-- unit or price, 42501 not an admin.
-- (Dropped: its form without a threshold, beside which calls would be ambiguous.)
drop function if exists devart.set_service_price(uuid, text, numeric, timestamptz);
create or replace function devart.set_service_price(
    service_id uuid, unit text, usd_per_unit numeric, effective_from timestamptz default null,
    above_units numeric default null, usd_per_unit_above numeric default null
)
returns devart.service_prices language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_from timestamptz := coalesce(set_service_price.effective_from, clock_timestamp());
    v_price devart.service_prices;
begin
    perform devart_private.require_admin();
    perform devart_private.check_moment('effective_from', v_from);
    perform devart_private.check_price(set_service_price.usd_per_unit);
    perform devart_private.check_amount('above_units', set_service_price.above_units, 1e15);
    perform devart_private.check_amount(
        'usd_per_unit_above', set_service_price.usd_per_unit_above, 1e12);
    if num_nonnulls(set_service_price.above_units, set_service_price.usd_per_unit_above) = 1 then
        perform devart_private.refuse_argument(
            'above_units', 'and usd_per_unit_above must be given together');
    end if;
    if set_service_price.usd_per_unit_above < set_service_price.usd_per_unit then
        perform devart_private.refuse_argument(
            'usd_per_unit_above', 'must not be less than usd_per_unit');
    end if;
    if set_service_price.above_units < 0 then
        perform devart_private.refuse_argument('above_units', 'must be 0 or more');
    end if;
    perform s.id from devart.service_registry s
    where s.id = set_service_price.service_id for key share;
    if not found then
        perform devart_private.refuse_argument(
            'service_id', format('names no service: %s', set_service_price.service_id), 'P0002');
    end if;
    if exists (
        select from devart.service_prices p
        where p.service_id = set_service_price.service_id and p.unit = set_service_price.unit
          and p.effective_from >= v_from
    ) then
        perform devart_private.refuse_argument(
            'effective_from', 'must be later than that of every earlier price');
    end if;
    update devart.service_prices p set effective_to = v_from
    where p.service_id = set_service_price.service_id and p.unit = set_service_price.unit
      and coalesce(p.effective_to > v_from, true);
    insert into devart.service_prices as p (
        service_id, unit, usd_per_unit, effective_from, created_by, above_units,
        usd_per_unit_above
    ) values (
        set_service_price.service_id, set_service_price.unit, set_service_price.usd_per_unit,
        v_from, devart.my_user_id(), set_service_price.above_units,
        set_service_price.usd_per_unit_above
    )
    returning p.* into v_price;
    return v_price;
end
$$;

-- The price, with its service locked against other changes of prices. Errors: P0002.
create or replace function devart_private.price_to_change(p_price_id uuid)
returns devart.service_prices language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_price devart.service_prices;
begin
    perform s.id from devart.service_registry s
    where s.id = (select p.service_id from devart.service_prices p where p.id = p_price_id)
    for no key update;
    select p.* into v_price from devart.service_prices p where p.id = p_price_id for update;
    if not found then
        perform devart_private.refuse_argument(
            'price_id', format('names no price: %s', p_price_id), 'P0002');
    end if;
    return v_price;
end
$$;

-- Ends a price at effective_to (null: now), after which its unit has none and is refused until
-- another is set. One that would end before it begins is taken back: the price before it goes on
-- as if it had never been set. Gives the price that was ended or taken back.
-- Errors: P0002 no such price, 22023 effective_to is no sensible time, or later than its end, 42501
-- not an admin.
create or replace function devart.end_service_price(
    price_id uuid, effective_to timestamptz default null
)
returns devart.service_prices language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_to timestamptz := coalesce(end_service_price.effective_to, clock_timestamp());
    v_price devart.service_prices;
begin
    perform devart_private.require_admin();
    perform devart_private.check_moment('effective_to', v_to);
    v_price := devart_private.price_to_change(end_service_price.price_id);
    if v_price.effective_to < v_to then
        perform devart_private.refuse_argument(
            'effective_to', 'must not be later than the end that the price has');
    end if;
    if v_to > v_price.effective_from then
        update devart.service_prices p set effective_to = v_to
        where p.id = v_price.id returning p.* into v_price;
        return v_price;
    end if;
    delete from devart.service_prices p where p.id = v_price.id;
    update devart.service_prices p set effective_to = v_price.effective_to
    where p.service_id = v_price.service_id and p.unit = v_price.unit
      and p.effective_to = v_price.effective_from;
    return v_price;
end
$$;

-- Corrects a price that was set wrongly: what a unit costs, from when on, or both (null: as it is).
-- The price before it ends when it begins. Holds that are already made keep the price that they
-- were made with. Errors: P0002 no such price, 22023 nothing to correct, no sensible price or time,
-- or a start that is not between those of its neighbours, 42501 not an admin.
create or replace function devart.correct_service_price(
    price_id uuid, usd_per_unit numeric default null, effective_from timestamptz default null
)
returns devart.service_prices language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_old devart.service_prices;
    v_from timestamptz;
    v_price devart.service_prices;
begin
    perform devart_private.require_admin();
    if num_nonnulls(
        correct_service_price.usd_per_unit, correct_service_price.effective_from) = 0 then
        perform devart_private.refuse_argument('usd_per_unit', 'or effective_from must be given');
    end if;
    perform devart_private.check_price(correct_service_price.usd_per_unit);
    v_old := devart_private.price_to_change(correct_service_price.price_id);
    v_from := coalesce(correct_service_price.effective_from, v_old.effective_from);
    perform devart_private.check_moment('effective_from', v_from);
    if v_from >= v_old.effective_to or exists (
        select from devart.service_prices p
        where p.service_id = v_old.service_id and p.unit = v_old.unit and p.id <> v_old.id
          and p.effective_from < v_old.effective_from and p.effective_from >= v_from
    ) then
        perform devart_private.refuse_argument(
            'effective_from', 'must be after the price before it and before its own end');
    end if;
    update devart.service_prices p set effective_to = v_from
    where p.service_id = v_old.service_id and p.unit = v_old.unit
      and p.effective_from < v_old.effective_from
      and (p.effective_to = v_old.effective_from or p.effective_to > v_from);
    update devart.service_prices p
    set usd_per_unit = coalesce(correct_service_price.usd_per_unit, p.usd_per_unit),
        effective_from = v_from
    where p.id = v_old.id
    returning p.* into v_price;
    return v_price;
end
$$;
