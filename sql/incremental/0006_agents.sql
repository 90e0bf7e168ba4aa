-- Agents and the hashes of their API keys.

set local role devart_owner;

create table devart.agents (
    id uuid primary key default devart.uuid_v7(),
    name text not null
        constraint agents_name_key unique
        constraint agents_name_check check (char_length(name) between 1 and 200),
    capabilities text[] not null default '{}'
        constraint agents_capabilities_check check (cardinality(capabilities) <= 100 and array_position(capabilities, null) is null),
    status devart.agent_status not null default 'OFFLINE',
    version text constraint agents_version_check check (char_length(version) <= 100),
    last_heartbeat_at timestamptz,
    active_task_count int not null default 0,
    -- What the agent last said of itself.
    detail jsonb,
    created_by uuid,
    created_at timestamptz not null default now()
) with (fillfactor = 70);
comment on column devart.agents.active_task_count is 'As of the last heartbeat or maintain(); never written by a claim, so that claims do not queue for this row.';
create index agents_online_idx on devart.agents (last_heartbeat_at) where status in ('IDLE', 'BUSY');

create table devart_private.agent_api_keys (
    key_id text primary key,
    agent_id uuid not null constraint agent_api_keys_agent_id_fkey references devart.agents (id) on delete cascade,
    key_sha256 bytea not null constraint agent_api_keys_key_sha256_check check (octet_length(key_sha256) = 32),
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default now()
);
create index agent_api_keys_agent_idx on devart_private.agent_api_keys (agent_id);
