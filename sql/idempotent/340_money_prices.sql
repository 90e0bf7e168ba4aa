-- Prices: an admin sets one from a moment on, which ends the one before.

-- Sets what a unit of a service costs from effective_from (US dollars, at most twelve decimals;
-- null: now) until further notice. Holds that are already made keep the price that they were made
-- with.
-- Errors: P0002 no such service, 22023 effective_from is no sensible time or not after the price
-- before it, or the price is no number, 23514 unit or price, 42501 not an admin.
create or replace function devart.set_service_price(
    service_id uuid, unit text, usd_per_unit numeric, effective_from timestamptz default null
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
        service_id, unit, usd_per_unit, effective_from, created_by
    ) values (
        set_service_price.service_id, set_service_price.unit, set_service_price.usd_per_unit,
        v_from, devart.my_user_id()
    )
    returning p.* into v_price;
    return v_price;
end
$$;
