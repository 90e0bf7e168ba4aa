-- The agent that asks for work: whether it is in service, the lanes that it can serve, and the
-- settings that a claim needs. $1: agent_id.
select
    a.status = 'DEACTIVATED',
    array(select l.id from devart_private.lanes l where l.required_capabilities <@ a.capabilities),
    (select (s.value #>> '{}')::float8 from devart.system_settings s where s.key = 'lease_seconds'),
    (select (s.value #>> '{}')::float8 from devart.system_settings s where s.key = 'priority_aging_seconds')
from devart.agents a
where a.id = $1
