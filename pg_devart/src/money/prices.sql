-- What the units of service $1 cost at $2 (null: now), in US dollars each, as
-- devart_core::price::Prices reads it; null when nothing has a price.
select jsonb_object_agg(p.unit, case
    when p.above_units is null then to_jsonb(p.usd_per_unit)
    else jsonb_build_object(
        'usd', p.usd_per_unit, 'above_units', p.above_units, 'usd_above', p.usd_per_unit_above)
end)
from (
    select distinct on (v.unit)
        v.unit, v.usd_per_unit, v.above_units, v.usd_per_unit_above, v.effective_to
    from devart.service_prices v
    where v.service_id = $1 and v.effective_from <= coalesce($2, clock_timestamp())
    order by v.unit, v.effective_from desc
) p
where coalesce(p.effective_to > coalesce($2, clock_timestamp()), true)
