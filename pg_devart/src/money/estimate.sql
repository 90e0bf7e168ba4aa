-- What to hold for a call to the service $1 for the task $2 (or none) whose cost nobody estimated:
-- what calls of its kind cost lately, or all calls, and at least the floor; null without any.
select greatest(
    s.estimate_floor_usd,
    coalesce(
        (
            select e.p95_usd
            from devart.tasks t
            join devart_private.cost_estimates e
                on e.kind = devart_private.cost_kind(t.template_id, t.lane_id)
            where t.id = $2 and e.service_id = s.id
        ),
        (
            select e.p95_usd from devart_private.cost_estimates e
            where e.service_id = s.id and e.kind = ''
        )
    ))
from devart.service_registry s
where s.id = $1
