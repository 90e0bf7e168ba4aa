-- What people and dashboards look at. All run as the caller, under the policies.
-- (A window that has ended is shown until the next charge opens the one after it.)

-- Status by status, as the partial indexes are: as one list it would read all finished tasks.
create or replace view devart.queue_depth with (security_invoker = true) as
select t.priority, t.status, count(*) as tasks, min(t.ready_at) as oldest_at
from devart.tasks t
where t.status = 'TODO' or t.status = 'SCHEDULED' or t.status = 'IN_PROGRESS'
  or t.status in ('BLOCKED', 'AWAITING_APPROVAL')
group by t.priority, t.status;

create or replace view devart.agent_status_summary with (security_invoker = true) as
select a.status, count(*) as agents, coalesce(sum(a.active_task_count), 0) as active_tasks
from devart.agents a
group by a.status;

create or replace view devart.service_status with (security_invoker = true) as
select
    s.id, s.name, s.description, s.status, s.budget_usd, s.period, s.time_zone, s.spent_usd,
    s.held_usd, greatest(s.budget_usd - s.spent_usd - s.held_usd, 0) as remaining_usd,
    round(100 * s.spent_usd / nullif(s.budget_usd, 0), 1) as used_percent,
    s.substitute_service_id, u.name as substitute_name, s.alert_thresholds, s.hard_limit,
    s.created_at, s.window_start, nullif(s.window_end, 'infinity') as window_end,
    case when s.deferred_until > now() then s.deferred_until end as deferred_until
from devart.service_registry s
left join devart.service_registry u on u.id = s.substitute_service_id;
