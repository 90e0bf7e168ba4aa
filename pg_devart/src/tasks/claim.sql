-- Gives the picked tasks $1 to agent $2 with a lease of $3 seconds; returns claimed_columns.sql.
-- They are TODO and locked (tasks/queue.rs).
-- $4: null, or the key that the lease tokens are made from, so that claim_replay.sql finds them
-- again.
-- A task that costs money gets its lease but stays TODO: it is started when its money is set aside
-- (money/claim.rs).
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
        md5($4::text || t.id::text || (least(t.attempt, 999999999) + 1)::text)::uuid,
        gen_random_uuid()),
    lease_expires_at = now() + make_interval(secs => $3)
where t.id = any ($1)
returning
