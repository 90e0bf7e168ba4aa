-- Counters stay where adding to them cannot fail, since what adds to one row's counter (a claim,
-- maintain(), a batch of the outbox) works for many rows at once. And usage is units and
-- quantities, whoever writes it.

set local role devart_owner;

-- Rows out of range would make the next change of theirs fail for whoever makes it. Before the
-- constraints, so that reading all tasks locks nobody out.
update devart.tasks t
set attempt = least(greatest(t.attempt, 0), 1000000000),
    retry_count = least(greatest(t.retry_count, 0), 1000000000),
    rescue_count = least(greatest(t.rescue_count, 0), 1000000000),
    open_dependencies = least(greatest(t.open_dependencies, 0), 1000000000)
where t.attempt not between 0 and 1000000000
   or t.retry_count not between 0 and 1000000000
   or t.rescue_count not between 0 and 1000000000
   or t.open_dependencies not between 0 and 1000000000;
update devart.agents a set active_task_count = 0
where a.active_task_count not between 0 and 1000000000;
update devart.service_registry s set alerted_percent = 0
where s.alerted_percent not between 0 and 1000;
update devart.budgets b set alerted_percent = 0
where b.alerted_percent not between 0 and 1000;
update devart.holds h set attempt = least(greatest(h.attempt, 0), 1000000000)
where h.attempt not between 0 and 1000000000;
update devart_private.outbox o set attempt = least(greatest(o.attempt, 0), 1000000000)
where o.attempt not between 0 and 1000000000;

-- "Not valid", so that nothing is read again. What adds to a counter stops at the billion.
alter table devart.tasks
    add constraint tasks_attempt_check check (attempt between 0 and 1000000000) not valid,
    add constraint tasks_retry_count_check
        check (retry_count between 0 and 1000000000) not valid,
    add constraint tasks_rescue_count_check
        check (rescue_count between 0 and 1000000000) not valid,
    add constraint tasks_open_dependencies_check
        check (open_dependencies between 0 and 1000000000) not valid;
alter table devart.task_events add constraint task_events_attempt_check
    check (attempt between 0 and 1000000000) not valid;
alter table devart.agents add constraint agents_active_task_count_check
    check (active_task_count between 0 and 1000000000) not valid;
alter table devart.service_registry add constraint service_registry_alerted_percent_check
    check (alerted_percent between 0 and 1000) not valid;
alter table devart.budgets add constraint budgets_alerted_percent_check
    check (alerted_percent between 0 and 1000) not valid;
alter table devart.holds add constraint holds_attempt_check
    check (attempt between 0 and 1000000000) not valid;
alter table devart.charges add constraint charges_attempt_check
    check (attempt between 0 and 1000000000) not valid;
alter table devart_private.outbox add constraint outbox_attempt_check
    check (attempt between 0 and 1000000000) not valid;

-- As devart_core::price::Usage reads it. Without a constraint at first: so no row is rewritten, and
-- an old one can still be settled.
create domain devart.charge_usage as jsonb;
alter table devart.charges alter column usage type devart.charge_usage;
alter table devart.holds alter column usage type devart.charge_usage;
alter domain devart.charge_usage add constraint charges_usage_check
    check (
        devart_private.check_json(value, 'usage', 16384)
        and jsonb_typeof(value) = 'object' and value <> '{}'
        -- Two paths, since names and values in one path cost five times as much.
        and not jsonb_path_exists(
            value,
            'strict $.* ? (@.type() != "number" || @ < 0 || @ >= 100000000000000000000000000000)',
            silent => true)
        and not jsonb_path_exists(
            value, 'strict $.keyvalue().key ? (!(@ like_regex "^.{1,64}$" flag "s"))',
            silent => true)
    ) not valid;
