-- Adds $2 to what is spent and $3 to what is held of the service $1: in its open window, within its
-- limit (what is free always is), and when nobody must be told. $6 false: only if nothing else has
-- a say, so no substitute and no budget that may apply to agent $4 or task $5. $7: only while the
-- service is not deferred.
update devart.service_registry s
set spent_usd = s.spent_usd + $2, held_usd = s.held_usd + $3
where s.id = $1
  and (s.status = 'ACTIVE' or s.status = 'SUSPENDED' and $2 + $3 = 0)
  and (not $7 or s.deferred_until is null or s.deferred_until <= clock_timestamp())
  and s.window_end > clock_timestamp()
  and (s.next_alert_usd is null or s.spent_usd + $2 < s.next_alert_usd)
  and (
      s.budget_usd is null or not s.hard_limit
      or s.spent_usd + s.held_usd + $2 + $3 <= s.budget_usd or $2 + $3 = 0
  )
  and ($6 or (
      s.substitute_service_id is null
      and ($4 is null or not exists (
          select from devart.budgets b where b.scope = 'agent' and b.scope_id = $4))
      and (($4 is null and $5 is null) or not exists (
          select from devart.budgets b where b.scope = any ('{task,run,user}')))
  ))
returning
    s.window_id, s.spent_usd,
    case when s.hard_limit then s.budget_usd - s.spent_usd - s.held_usd end,
    s.status = 'SUSPENDED'
