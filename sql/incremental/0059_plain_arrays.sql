-- Arrays that every client can read: of one dimension, counted from 1, without nulls. One array of
-- another shape was an error for whoever listed the rows beside it.

set local role devart_owner;

update devart.service_registry s
set alert_thresholds = array(select t from unnest(s.alert_thresholds) t where t is not null)
where s.alert_thresholds::text ~ 'NULL|=|\{\{';
update devart.budgets b
set alert_thresholds = array(select t from unnest(b.alert_thresholds) t where t is not null)
where b.alert_thresholds::text ~ 'NULL|=|\{\{';
update devart.agents a
set capabilities = array(select c from unnest(a.capabilities) c where c is not null)
where array_ndims(a.capabilities) > 1 or array_lower(a.capabilities, 1) <> 1;

-- "case", since array_position refuses arrays of two dimensions by an error of its own.
alter table devart.service_registry
    drop constraint service_registry_alert_thresholds_check,
    add constraint service_registry_alert_thresholds_check check (
        cardinality(alert_thresholds) <= 20
        and 0 < all (alert_thresholds) and 1000 >= all (alert_thresholds)
        and case array_ndims(alert_thresholds)
            when 1 then
                array_lower(alert_thresholds, 1) = 1
                and array_position(alert_thresholds, null) is null
            else alert_thresholds = '{}'
        end);
alter table devart.budgets
    drop constraint budgets_alert_thresholds_check,
    add constraint budgets_alert_thresholds_check check (
        cardinality(alert_thresholds) <= 20
        and 0 < all (alert_thresholds) and 1000 >= all (alert_thresholds)
        and case array_ndims(alert_thresholds)
            when 1 then
                array_lower(alert_thresholds, 1) = 1
                and array_position(alert_thresholds, null) is null
            else alert_thresholds = '{}'
        end);
alter table devart.agents
    drop constraint agents_capabilities_check,
    add constraint agents_capabilities_check check (
        cardinality(capabilities) <= 100
        and case array_ndims(capabilities)
            when 1 then
                array_lower(capabilities, 1) = 1 and array_position(capabilities, null) is null
            else capabilities = '{}'
        end);
