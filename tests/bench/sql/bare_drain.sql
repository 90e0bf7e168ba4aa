update bare.queue set status = 1 where id = (select id from bare.queue where status = 0 and lane_id = 1 order by priority, ready_at limit 1 for update skip locked) returning id \gset
update bare.queue set status = 2, finished_at = now() where id = :id;
