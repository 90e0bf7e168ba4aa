-- Takes the task $1 for agent $2 with a lease of $3 seconds, if it is in one of the lanes $4 and to
-- be had: waiting, or scheduled for a time that has come, since a delayed message may be faster
-- than maintain(). Returns claimed_columns.sql. $5: as $4 of claim.sql. A task that costs money
-- gets its lease but stays TODO: it is started when its money is set aside (money/claim.rs).
-- Scheduled ones of those wait for maintain(), which makes them TODO. One whose service is
-- deferred is not to be had.
update devart.tasks t
set status = case
        when t.service_id is null or t.estimated_cost_usd is null then 'IN_PROGRESS'
        else t.status
    end,
    agent_id = $2,
    attempt = least(t.attempt, 999999999) + 1,
    claimed_at = case
        when t.service_id is null or t.estimated_cost_usd is null then now()
        else t.claimed_at
    end,
    lease_token = coalesce(
        md5($5::text || t.id::text || (least(t.attempt, 999999999) + 1)::text)::uuid,
        gen_random_uuid()),
    lease_expires_at = now() + make_interval(secs => $3)
where t.id = $1 and t.lane_id = any ($4)
  and (t.service_id is null or devart_private.service_waits_until(t.service_id) is null)
  and (
      t.status = 'TODO'
      or (
          t.status = 'SCHEDULED' and t.run_at <= now()
          and (t.service_id is null or t.estimated_cost_usd is null)
      )
  )
returning
