select array_agg(task_id) as task_ids, array_agg(lease_token) as lease_tokens from devart.claim_tasks(:agent, 100) \gset
select count(*) from devart.complete_tasks(:task_ids, :lease_tokens);
