-- Amounts of money are numbers, and sums of many of them fit. One amount is less than a trillion
-- dollars, numeric(18, 6); what adds amounts up, and the limits it is compared with, has room for
-- ten billion of the largest.

set local role devart_owner;

-- A task whose estimate is no number stopped whoever claimed it: now it has failed. Without
-- triggers, since what they call is there only when sql/idempotent has run; so what would follow
-- from the change of status is written here.
do $$
declare
    v_waiting constant devart.task_status[] := '{BLOCKED,AWAITING_APPROVAL,SCHEDULED,TODO}';
begin
    if not exists (select from devart.tasks t where t.estimated_cost_usd = 'NaN') then
        return;
    end if;
    alter table devart.tasks disable trigger user;
    insert into devart.task_events (task_id, from_status, to_status, actor, attempt, detail)
    select t.id, t.status, 'FAILED', devart_private.actor(), t.attempt,
           '{"error": "estimated_cost_usd was no number"}'
    from devart.tasks t
    where t.estimated_cost_usd = 'NaN' and t.status = any (v_waiting);
    update devart.approvals a set status = 'EXPIRED', decided_at = now()
    where a.status = 'PENDING' and a.subject_id in (
        select t.id from devart.tasks t
        where t.estimated_cost_usd = 'NaN' and t.status = any (v_waiting));
    delete from devart_private.budget_waits w
    where w.task_id in (select t.id from devart.tasks t where t.estimated_cost_usd = 'NaN');
    update devart.tasks t
    set estimated_cost_usd = null,
        status = case when t.status = any (v_waiting) then 'FAILED' else t.status end,
        finished_at = case when t.status = any (v_waiting) then now() else t.finished_at end,
        last_error = case
            when t.status = any (v_waiting) then 'estimated_cost_usd was no number'
            else t.last_error
        end
    where t.estimated_cost_usd = 'NaN';
    alter table devart.tasks enable trigger user;
end
$$;

-- What depends on the columns; sql/idempotent makes it again.
drop view if exists devart.service_status;
drop trigger if exists service_registry_budget on devart.service_registry;
drop trigger if exists service_registry_update_audit on devart.service_registry;
drop trigger if exists service_registry_wake on devart.service_registry;
drop trigger if exists budgets_before_write on devart.budgets;
drop trigger if exists budgets_update_audit on devart.budgets;
drop trigger if exists budgets_wake on devart.budgets;

-- A limit that is no number admitted everything. Now nothing more, until people say how much.
update devart.service_registry s
set budget_usd = s.spent_usd + s.held_usd, next_alert_usd = s.spent_usd + s.held_usd
where s.budget_usd = 'NaN';
update devart.budgets b
set budget_usd = b.spent_usd + b.held_usd, next_alert_usd = b.spent_usd + b.held_usd
where b.budget_usd = 'NaN';
-- A price that is no number refused as an unknown one does.
delete from devart.service_prices p where p.usd_per_unit = 'NaN';
alter table devart.service_registry
    drop constraint service_registry_budget_usd_check,
    alter column budget_usd type numeric(28, 6),
    alter column spent_usd type numeric(28, 6),
    alter column held_usd type numeric(28, 6),
    -- NaN is greater than every number, so an upper bound refuses it, too.
    add constraint service_registry_budget_usd_check check (budget_usd >= 0 and budget_usd < 1e21);
alter table devart.budgets
    drop constraint budgets_budget_usd_check,
    alter column budget_usd type numeric(28, 6),
    alter column spent_usd type numeric(28, 6),
    alter column held_usd type numeric(28, 6),
    add constraint budgets_budget_usd_check check (budget_usd >= 0 and budget_usd < 1e21);
alter table devart.budget_windows
    alter column budget_usd type numeric(28, 6),
    alter column spent_usd type numeric(28, 6),
    alter column held_usd type numeric(28, 6);
alter table devart.service_prices
    drop constraint service_prices_usd_per_unit_check,
    add constraint service_prices_usd_per_unit_check
        check (usd_per_unit >= 0 and usd_per_unit < 1e12);

-- Not valid: it holds for what comes from now on, and for what was mended above; the table of all
-- tasks need not be read.
alter domain devart.task_cost drop constraint tasks_estimated_cost_usd_check;
alter domain devart.task_cost add constraint tasks_estimated_cost_usd_check
    check (value >= 0 and value < 1e12) not valid;
