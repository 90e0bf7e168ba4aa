-- Ranges of times and texts that only a function checked, or nothing did. "Not valid", as for JSON:
-- what is there already stays. (Of tasks.run_at the native triggers check it, which run anyway.)

set local role devart_owner;

alter table devart_private.agent_api_keys add constraint agent_api_keys_expires_at_check
    check (expires_at >= '1970-01-01 00:00+00' and expires_at < '3000-01-01 00:00+00') not valid;
alter table devart.service_prices add constraint service_prices_effective_from_check
    check (effective_from >= '1970-01-01 00:00+00' and effective_from < '3000-01-01 00:00+00')
    not valid;
alter table devart.approvals add constraint approvals_expires_at_check
    check (expires_at >= '1970-01-01 00:00+00' and expires_at < '3000-01-01 00:00+00') not valid;
alter table devart_private.webhook_deliveries
    add constraint webhook_deliveries_delivery_id_check
        check (char_length(delivery_id) between 1 and 200) not valid,
    add constraint webhook_deliveries_event_check
        check (char_length(event) between 1 and 100) not valid,
    add constraint webhook_deliveries_subject_check
        check (octet_length(subject) <= 2000) not valid;
