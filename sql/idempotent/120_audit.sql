-- One trigger writes the audit log, for each table whose changes are management.

create or replace function devart_private.audit()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_row jsonb := to_jsonb(coalesce(new, old));
begin
    insert into devart.audit_log (actor, action, table_name, row_id, before, after)
    values (devart_private.actor(), lower(tg_op), tg_table_name,
            coalesce(v_row ->> 'id', v_row ->> 'key', v_row ->> 'user_id'),
            case when tg_op <> 'INSERT' then to_jsonb(old) end,
            case when tg_op <> 'DELETE' then to_jsonb(new) end);
    return null;
end
$$;

create or replace trigger user_roles_audit after insert or update or delete on devart.user_roles
    for each row execute function devart_private.audit();

create or replace trigger system_settings_audit after update on devart.system_settings
    for each row execute function devart_private.audit();

-- Only what people decide; heartbeats and charges have their own records.
create or replace trigger agents_audit after insert or delete on devart.agents
    for each row execute function devart_private.audit();
create or replace trigger agents_update_audit after update of name, capabilities, status
    on devart.agents
    for each row when (
        (old.name, old.capabilities, old.status = 'DEACTIVATED')
        is distinct from (new.name, new.capabilities, new.status = 'DEACTIVATED')
    )
    execute function devart_private.audit();

create or replace trigger service_registry_audit after insert or delete on devart.service_registry
    for each row execute function devart_private.audit();
create or replace trigger service_registry_update_audit
    after update of name, description, status, budget_usd, period, time_zone, substitute_service_id,
        alert_thresholds, hard_limit, deferred_until, deferred_reason,
        estimate_floor_usd
    on devart.service_registry
    for each row when (
        (old.name, old.description, old.status, old.budget_usd, old.period, old.time_zone,
         old.substitute_service_id, old.alert_thresholds, old.hard_limit,
         old.deferred_until, old.deferred_reason, old.estimate_floor_usd)
        is distinct from
        (new.name, new.description, new.status, new.budget_usd, new.period, new.time_zone,
         new.substitute_service_id, new.alert_thresholds, new.hard_limit,
         new.deferred_until, new.deferred_reason, new.estimate_floor_usd)
    )
    execute function devart_private.audit();

create or replace trigger tasks_audit after delete on devart.tasks
    for each row execute function devart_private.audit();

create or replace trigger service_prices_audit after insert or update or delete
    on devart.service_prices
    for each row execute function devart_private.audit();

create or replace trigger budgets_audit after insert or delete on devart.budgets
    for each row execute function devart_private.audit();
create or replace trigger budgets_update_audit
    after update of budget_usd, period, time_zone, hard_limit, alert_thresholds on devart.budgets
    for each row execute function devart_private.audit();
