-- Amounts are numbers (NaN is greater than all of them, so ">= 0" let it in), and every array of
-- capabilities has the shape that clients can read (0059_plain_arrays.sql), those of lanes, too.
-- "Not valid", so that nothing is read again.

set local role devart_owner;

-- What was no number is what the ledger says; of a single hold nobody knows.
update devart.holds h set amount_usd = 0 where h.amount_usd = 'NaN';
update devart.service_registry s
set spent_usd = case when s.spent_usd = 'NaN' then (
        select coalesce(sum(c.amount_usd), 0) from devart.charges c
        where c.window_id = s.window_id and c.kind in ('settle', 'overage', 'adjustment')
          and c.amount_usd <> 'NaN') else s.spent_usd end,
    held_usd = case when s.held_usd = 'NaN' then (
        select coalesce(sum(h.amount_usd), 0) from devart.holds h
        where h.window_id = s.window_id and h.status = 'HELD' and h.amount_usd <> 'NaN')
        else s.held_usd end
where 'NaN' in (s.spent_usd, s.held_usd);
update devart.budgets b
set spent_usd = case when b.spent_usd = 'NaN' then (
        select coalesce(sum(c.amount_usd), 0) from devart.charges c
        where b.window_id = any (c.budget_window_ids)
          and c.kind in ('settle', 'overage', 'adjustment') and c.amount_usd <> 'NaN')
        else b.spent_usd end,
    held_usd = case when b.held_usd = 'NaN' then (
        select coalesce(sum(h.amount_usd), 0) from devart.holds h
        where b.window_id = any (h.budget_window_ids) and h.status = 'HELD'
          and h.amount_usd <> 'NaN') else b.held_usd end
where 'NaN' in (b.spent_usd, b.held_usd);
update devart.budget_windows w
set budget_usd = nullif(w.budget_usd, 'NaN'),
    spent_usd = case when w.spent_usd = 'NaN' then 0 else w.spent_usd end,
    held_usd = case when w.held_usd = 'NaN' then 0 else w.held_usd end
where 'NaN' in (w.budget_usd, w.spent_usd, w.held_usd);

alter table devart.service_registry
    drop constraint service_registry_spent_usd_check,
    drop constraint service_registry_held_usd_check,
    add constraint service_registry_spent_usd_check
        check (spent_usd >= 0 and spent_usd < 'Infinity') not valid,
    add constraint service_registry_held_usd_check
        check (held_usd >= 0 and held_usd < 'Infinity') not valid;
alter table devart.budgets
    drop constraint budgets_spent_usd_check,
    drop constraint budgets_held_usd_check,
    add constraint budgets_spent_usd_check
        check (spent_usd >= 0 and spent_usd < 'Infinity') not valid,
    add constraint budgets_held_usd_check
        check (held_usd >= 0 and held_usd < 'Infinity') not valid;
alter table devart.budget_windows
    drop constraint budget_windows_spent_usd_check,
    drop constraint budget_windows_held_usd_check,
    add constraint budget_windows_budget_usd_check
        check (budget_usd >= 0 and budget_usd < 'Infinity') not valid,
    add constraint budget_windows_spent_usd_check
        check (spent_usd >= 0 and spent_usd < 'Infinity') not valid,
    add constraint budget_windows_held_usd_check
        check (held_usd >= 0 and held_usd < 'Infinity') not valid;
alter table devart.holds
    drop constraint holds_amount_usd_check,
    add constraint holds_amount_usd_check
        check (amount_usd >= 0 and amount_usd < 'Infinity') not valid;
alter table devart.charges
    add constraint charges_amount_usd_check check (amount_usd < 'Infinity') not valid;
alter table devart_private.budget_waits
    add constraint budget_waits_needed_usd_check
        check (needed_usd >= 0 and needed_usd < 'Infinity') not valid;

-- A lane that no task can have.
delete from devart_private.lanes l
where not case array_ndims(l.required_capabilities)
    when 1 then
        array_lower(l.required_capabilities, 1) = 1
        and array_position(l.required_capabilities, null) is null
    else l.required_capabilities = '{}'
end;
alter table devart_private.lanes add constraint lanes_required_capabilities_check check (
    case array_ndims(required_capabilities)
        when 1 then
            array_lower(required_capabilities, 1) = 1
            and array_position(required_capabilities, null) is null
        else required_capabilities = '{}'
    end);
alter domain devart.task_capabilities drop constraint tasks_required_capabilities_check;
alter domain devart.task_capabilities add constraint tasks_required_capabilities_check check (
    cardinality(value) <= 20
    and case array_ndims(value)
        when 1 then array_lower(value, 1) = 1 and array_position(value, null) is null
        else value = '{}'
    end) not valid;

-- Of a request (230_task_functions.sql), by SHA-256.
alter table devart.tasks add constraint tasks_request_digest_check
    check (octet_length(request_digest) = 32) not valid;
