-- Ranges of times and texts that only a function checked, or nothing did. "Not valid", so that
-- nothing is read again: what could not be changed any more is mended first. (Of tasks.run_at the
-- native triggers check it, which run anyway.)

set local role devart_owner;

-- A row out of range would refuse every change of it, such as a key's revocation or a vote: no such
-- row is left. Beyond the year 3000 means without an end.
update devart_private.agent_api_keys k
set expires_at = case when k.expires_at < '1970-01-01 00:00+00' then '1970-01-01 00:00+00' end
        ::timestamptz
where k.expires_at < '1970-01-01 00:00+00' or k.expires_at >= '3000-01-01 00:00+00';
update devart.approvals a
set expires_at = case when a.expires_at < '1970-01-01 00:00+00' then '1970-01-01 00:00+00' end
        ::timestamptz
where a.expires_at < '1970-01-01 00:00+00' or a.expires_at >= '3000-01-01 00:00+00';
-- Prices that nobody pays any more, or before the year 3000; of those that have been in force since
-- before 1970, the last one stays.
delete from devart.service_prices p
where p.effective_from >= '3000-01-01 00:00+00' or p.effective_to <= '1970-01-01 00:00+00'
   or exists (
       select from devart.service_prices l
       where l.service_id = p.service_id and l.unit = p.unit
         and l.effective_from > p.effective_from and l.effective_from <= '1970-01-01 00:00+00');
update devart.service_prices p set effective_from = '1970-01-01 00:00+00'
where p.effective_from < '1970-01-01 00:00+00';

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
