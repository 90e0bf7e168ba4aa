-- Widens the hold $1, which is locked, by $2 US dollars ($3: their usage), to last at least $4
-- seconds from now; see sql/idempotent/332_money_extensions.sql.
select e.code, e.reason, e.scope, e.scope_id, e.remaining_usd, e.held_usd, e.expires_at
from devart_private.extend_hold($1, $2, $3, $4) e
