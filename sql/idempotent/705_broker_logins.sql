-- What an agent may do at RabbitMQ, which asks the API at each login, virtual host and queue
-- (docs/decisions/broker-logins.md). It is told an agent's id, and no key after the login.

-- Whether an agent may be at the broker: it is in service and has a key that counts.
create or replace function devart_private.agent_may_listen(agent_id uuid)
returns boolean language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from devart.agents a
        where a.id = agent_may_listen.agent_id and a.status <> 'DEACTIVATED'
    ) and exists (
        select from devart_private.agent_api_keys k
        where k.agent_id = agent_may_listen.agent_id and k.revoked_at is null
          and coalesce(k.expires_at > now(), true)
    )
$$;

-- Whether an agent may also take invitations from this queue: it is the queue of a lane that the
-- agent can serve, as heartbeats name them.
create or replace function devart_private.agent_may_take_from(agent_id uuid, queue text)
returns boolean language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select devart_private.agent_may_listen(agent_may_take_from.agent_id) and exists (
        select from devart.agents a
        join devart_private.lanes l on l.required_capabilities <@ a.capabilities
        where a.id = agent_may_take_from.agent_id
          and agent_may_take_from.queue
              = 'tasks.' || devart_private.task_routing_key(l.required_capabilities)
    )
$$;
