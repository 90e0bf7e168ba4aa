-- What the units of service $1 cost at $2 (null: now), in US dollars each; null when nothing has a
-- price.
select jsonb_object_agg(p.unit, p.usd_per_unit)
from (
    select distinct on (v.unit) v.unit, v.usd_per_unit, v.effective_to
    from devart.service_prices v
    where v.service_id = $1 and v.effective_from <= coalesce($2, clock_timestamp())
    order by v.unit, v.effective_from desc
) p
where coalesce(p.effective_to > coalesce($2, clock_timestamp()), true)
