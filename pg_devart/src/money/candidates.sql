-- The service $1 and its substitutes, in the order in which they are tried, as they stand;
-- unlocked.
select
    s.id, s.status::text, s.spent_usd, s.held_usd,
    case when s.hard_limit then s.budget_usd end,
    s.next_alert_usd,
    s.window_end <= clock_timestamp(),
    case when s.deferred_until > clock_timestamp() then s.deferred_until end
from devart_private.substitute_chain($1) c
join devart.service_registry s on s.id = c.id
order by c."position"
