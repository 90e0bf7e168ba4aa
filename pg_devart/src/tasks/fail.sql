-- Gives the task $1 up with the error $2: to be tried again in $3 seconds, or for good when $3 is
-- null. Returns outcome_columns.sql.
update devart.tasks t
set status = case when $3 is null then 'FAILED' else 'SCHEDULED' end::devart.task_status,
    last_error = $2,
    retry_count = t.retry_count + case when $3 is null then 0 else 1 end,
    run_at = case
        when $3 is null then t.run_at
        else clock_timestamp() + make_interval(secs => $3)
    end,
    finished_at = case when $3 is null then now() end,
    agent_id = case when $3 is null then t.agent_id end,
    lease_token = null,
    lease_expires_at = null
where t.id = $1
returning
