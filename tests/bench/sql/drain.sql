select task_id, lease_token from devart.claim_next_task(:agent) \gset
select status from devart.complete_task(:task_id, :lease_token);
