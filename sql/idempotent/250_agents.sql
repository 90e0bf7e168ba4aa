-- Agents: registering, keys, activation.

-- Makes a key for an agent and stores its hash. At most two live keys, so that one can be rotated
-- in while the other still works. Returns key_id, api_key (shown this once) and expires_at.
-- Errors: 22023 expires_at is no sensible time, 55000 two live keys already.
create or replace function devart_private.issue_key(p_agent_id uuid, p_expires_at timestamptz)
returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_key text := devart.generate_api_key();
    v_key_id text := split_part(v_key, '_', 2);
begin
    perform devart_private.check_moment('expires_at', p_expires_at);
    perform from devart.agents a where a.id = p_agent_id for no key update;
    if (
        select count(*) from devart_private.agent_api_keys k
        where k.agent_id = p_agent_id and k.revoked_at is null
          and coalesce(k.expires_at > now(), true)
    ) >= 2 then
        perform devart_private.refuse_argument(
            'agent_id', 'names an agent with two live keys: revoke one first', '55000');
    end if;
    insert into devart_private.agent_api_keys (key_id, agent_id, key_sha256, expires_at)
    values (v_key_id, p_agent_id, devart.hash_api_key(v_key), p_expires_at);
    return jsonb_build_object('key_id', v_key_id, 'api_key', v_key, 'expires_at', p_expires_at);
end
$$;

-- Registers an agent. Returns its row and its first API key, which is shown this once.
-- Errors: 23505 the name is taken, 23514 invalid name or capabilities, 22023 a capability is empty
-- or longer than 100 characters, or there are too many (check_new_lane), 42501.
create or replace function devart.register_agent(
    name text, capabilities text[] default '{}', version text default null
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_agent devart.agents;
begin
    perform devart_private.require_supervisor();
    insert into devart.agents as a (name, capabilities, version, created_by)
    values (register_agent.name,
            devart_private.canonical_capabilities(coalesce(register_agent.capabilities, '{}')),
            register_agent.version, devart.my_user_id())
    returning a.* into v_agent;
    return to_jsonb(v_agent) || (devart_private.issue_key(v_agent.id, null) - 'expires_at');
end
$$;

-- Each single capability of an agent has its lane: heartbeats name the queues of lanes, so the
-- agent listens to them before the first task asks for one.
create or replace function devart_private.agents_make_lanes()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.lane_of(array[c], 'capabilities') from unnest(new.capabilities) c;
    return null;
end
$$;
create or replace trigger agents_make_lanes after insert or update of capabilities on devart.agents
    for each row execute function devart_private.agents_make_lanes();

-- Errors: P0002.
create or replace function devart_private.require_agent(p_agent_id uuid)
returns void language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from devart.agents a where a.id = p_agent_id) then
        perform devart_private.refuse_argument(
            'agent_id', format('names no agent: %s', p_agent_id), 'P0002');
    end if;
end
$$;

-- Gives an agent a further key; the older one works until it is revoked.
-- Errors: P0002, 22023 expires_at, 55000 two live keys already, 42501.
create or replace function devart.rotate_agent_key(
    agent_id uuid, expires_at timestamptz default null
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.require_supervisor();
    perform devart_private.require_agent(rotate_agent_key.agent_id);
    return devart_private.issue_key(rotate_agent_key.agent_id, rotate_agent_key.expires_at);
end
$$;

-- Ends a key at once. Errors: P0002 the agent has no such live key, 42501.
create or replace function devart.revoke_agent_key(agent_id uuid, key_id text)
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.require_supervisor();
    update devart_private.agent_api_keys k set revoked_at = now()
    where k.agent_id = revoke_agent_key.agent_id and k.key_id = revoke_agent_key.key_id
      and k.revoked_at is null;
    if not found then
        perform devart_private.refuse_argument(
            'key_id', 'names no live key of this agent', 'P0002');
    end if;
end
$$;

-- Takes an agent out of service, giving its tasks back to the queue, or puts it in again.
-- Errors: P0002, 42501, 22023 a lane of its own would be one too many (check_new_lane).
create or replace function devart.set_agent_activation(agent_id uuid, active boolean)
returns devart.agents language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_agent devart.agents;
begin
    perform devart_private.require_supervisor();
    perform devart_private.require_agent(set_agent_activation.agent_id);
    update devart.agents a
    set status = case
        when not set_agent_activation.active then 'DEACTIVATED'
        when a.status = 'DEACTIVATED' then 'OFFLINE'
        else a.status
    end::devart.agent_status,
    active_task_count = case when set_agent_activation.active then a.active_task_count else 0 end
    where a.id = set_agent_activation.agent_id
    returning a.* into v_agent;
    -- A lane of its own may be gone: nobody needed it.
    if set_agent_activation.active then
        perform devart_private.lane_of(array[c], 'capabilities')
        from unnest(v_agent.capabilities) c;
    elsif not set_agent_activation.active then
        perform t.id from devart.tasks t
        where t.agent_id = v_agent.id and t.status = 'IN_PROGRESS'
        order by t.id
        for no key update;
        update devart.tasks t
        set status = 'TODO', agent_id = null, lease_token = null, lease_expires_at = null,
            last_error = 'agent was deactivated'
        where t.agent_id = v_agent.id and t.status = 'IN_PROGRESS';
    end if;
    return v_agent;
end
$$;

-- The agent that presents this key, or null when the key is unknown, wrong, expired or revoked.
create or replace function devart_private.authenticate_agent_key(key_id text, key_sha256 bytea)
returns uuid language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select k.agent_id from devart_private.agent_api_keys k
    where k.key_id = authenticate_agent_key.key_id
      and devart.constant_time_equals(k.key_sha256, authenticate_agent_key.key_sha256)
      and k.revoked_at is null
      and coalesce(k.expires_at > now(), true)
$$;
