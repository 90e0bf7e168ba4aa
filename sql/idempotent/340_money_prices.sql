-- Prices: an admin sets one from a moment on, which ends the one before.

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
    perform devart_private.check_amount('usd_per_unit', set_service_price.usd_per_unit, 1e12);
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
