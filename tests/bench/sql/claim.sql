select task_id from devart.claim_next_task(:agent);
