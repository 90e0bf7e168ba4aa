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

CREATE  FUNCTION "room_for_tasks"() RETURNS INT
STRICT VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'room_for_tasks_wrapper';
