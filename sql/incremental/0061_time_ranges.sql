-- Times of tasks and holds lie in the range that all times have (0042_value_ranges.sql): what is
-- computed with them must not fail. "Not valid", so that nothing is read again.

set local role devart_owner;

update devart.tasks t
set claimed_at = case
        when t.claimed_at >= '1970-01-01 00:00+00' and t.claimed_at < '3000-01-01 00:00+00'
            then t.claimed_at
        when t.claimed_at is not null then now() end,
    lease_expires_at = case
        when t.lease_expires_at >= '1970-01-01 00:00+00'
            and t.lease_expires_at < '3000-01-01 00:00+00' then t.lease_expires_at
        when t.lease_expires_at is not null then now() end
where t.claimed_at < '1970-01-01 00:00+00' or t.claimed_at >= '3000-01-01 00:00+00'
   or t.lease_expires_at < '1970-01-01 00:00+00' or t.lease_expires_at >= '3000-01-01 00:00+00';
alter table devart.tasks add constraint tasks_times_check check (
    claimed_at >= '1970-01-01 00:00+00' and claimed_at < '3000-01-01 00:00+00'
    and lease_expires_at >= '1970-01-01 00:00+00' and lease_expires_at < '3000-01-01 00:00+00'
) not valid;

update devart.holds h set expires_at = now()
where h.status = 'HELD'
  and (h.expires_at < '1970-01-01 00:00+00' or h.expires_at >= '3000-01-01 00:00+00');
alter table devart.holds add constraint holds_expires_at_check check (
    status <> 'HELD'
    or expires_at >= '1970-01-01 00:00+00' and expires_at < '3000-01-01 00:00+00'
) not valid;
