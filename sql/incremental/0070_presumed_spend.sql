-- Spending that nobody told of: which holds' calls may have gone out, which amounts are presumed,
-- and what a row of the ledger corrects.

set local role devart_owner;

alter table devart.holds
    -- Whether the call can have gone out. Then the end of its time does not give the money back: it
    -- is presumed to be spent.
    add column dispatched boolean not null default false,
    -- Settled at what was held, since nobody said what it cost; a later settlement says so.
    add column presumed boolean not null default false;
-- What was reserved by itself was reserved for a call; what a claim holds waits for one.
update devart.holds h set dispatched = true where h.status = 'HELD' and not h.follows_lease;

-- Expiry asks for the one kind or the other, the longest due first.
drop index devart.holds_expiry_idx;
create index holds_expiry_idx on devart.holds (dispatched, expires_at) where status = 'HELD';

-- What an agent has set aside.
create index holds_agent_idx on devart.holds (agent_id) where status = 'HELD';

alter table devart.charges
    -- Of an adjustment: the row that it corrects. Their sum is what that one comes to.
    add column corrects uuid,
    -- Why the row is there, where its kind does not say so.
    add column reason text constraint charges_reason_check check (char_length(reason) <= 1000);
create index charges_corrects_idx on devart.charges (corrects) where corrects is not null;
comment on column devart.charges.kind is
    'hold: set aside. settle: spent, out of the hold when there is one (reason presumed: nobody '
    'said what it cost). release: given back. overage: spent beyond what was still held. '
    'adjustment: what the row that it corrects differs by from the truth.';
comment on table devart.service_prices is
    'A new price ends the one before it. Admins end and correct them; the audit log tells of each.';
