-- What 0.2.0 declares otherwise than 0.1.0 did; tests/upgrade/mod.rs compares with a fresh 0.2.0.

drop trigger if exists tasks_before_payload_update on devart.tasks;
drop function devart_private.tasks_before_payload_update();

CREATE OR REPLACE FUNCTION "my_agent_id"() RETURNS uuid
STRICT STABLE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'my_agent_id_wrapper';

CREATE OR REPLACE FUNCTION "readable_json"(
	"value" jsonb
) RETURNS jsonb
IMMUTABLE STRICT PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'readable_json_wrapper';

CREATE OR REPLACE FUNCTION "release_task"(
	"task_id" uuid,
	"lease_token" uuid
) RETURNS TABLE (
	"status" TEXT,
	"run_at" timestamp with time zone,
	"lease_expires_at" timestamp with time zone
)
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'release_task_wrapper';

CREATE OR REPLACE FUNCTION devart_private."check_json"(
	"value" jsonb,
	"field" TEXT,
	"most" INT
) RETURNS bool
IMMUTABLE STRICT PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'check_json_wrapper';

CREATE OR REPLACE FUNCTION devart_private."take_lock"(
	"number" bigint
) RETURNS void
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'take_lock_wrapper';

CREATE OR REPLACE FUNCTION devart_private."try_lock"(
	"number" bigint
) RETURNS bool
STRICT VOLATILE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'try_lock_wrapper';

DROP FUNCTION "reserve_charge"(uuid, NUMERIC, jsonb, uuid, uuid, TEXT, interval);
CREATE  FUNCTION "reserve_charge"(
	"service_id" uuid,
	"estimate_usd" NUMERIC DEFAULT NULL,
	"usage" jsonb DEFAULT NULL,
	"task_id" uuid DEFAULT NULL,
	"lease_token" uuid DEFAULT NULL,
	"idempotency_key" TEXT DEFAULT NULL,
	"ttl" interval DEFAULT '10 minutes',
	"dispatched" bool DEFAULT true
) RETURNS jsonb
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'reserve_charge_wrapper';

CREATE  FUNCTION "mark_dispatched"(
	"hold_id" uuid,
	"lease_token" uuid DEFAULT NULL
) RETURNS bool
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'mark_dispatched_wrapper';

CREATE  FUNCTION "extend_charge"(
	"hold_id" uuid,
	"more_usd" NUMERIC DEFAULT NULL,
	"usage" jsonb DEFAULT NULL,
	"ttl_seconds" INT DEFAULT NULL,
	"idempotency_key" TEXT DEFAULT NULL
) RETURNS jsonb
VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'extend_charge_wrapper';

CREATE OR REPLACE FUNCTION devart_private."service_waits_until"(
	"service_id" uuid
) RETURNS timestamp with time zone
STRICT STABLE PARALLEL UNSAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'service_waits_until_wrapper';
