-- Whether an agent may act is asked at each of its calls (pg_devart/src/caller/standing.rs), of
-- what sessions keep in memory until one of these tables changes in what decides it.

-- By row and on condition: heartbeats write the status, too, and change nothing here.
create or replace trigger agents_forget_cached_update after update of status on devart.agents
    for each row when (
        (old.status = 'DEACTIVATED') is distinct from (new.status = 'DEACTIVATED'))
    execute function devart_private.forget_cached();
create or replace trigger agents_forget_cached after insert or delete on devart.agents
    for each statement execute function devart_private.forget_cached();
create or replace trigger agent_api_keys_forget_cached after insert or update or delete
    on devart_private.agent_api_keys
    for each statement execute function devart_private.forget_cached();
-- Always: also for what replication brings.
alter table devart.agents enable always trigger agents_forget_cached_update;
alter table devart.agents enable always trigger agents_forget_cached;
alter table devart_private.agent_api_keys enable always trigger agent_api_keys_forget_cached;

-- An agent that was taken out of service settles nothing any more: what it holds is due at once,
-- and maintain() ends it. Not what people granted to a task, which the next agent takes up.
create or replace function devart_private.agents_after_deactivation()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.holds h set expires_at = clock_timestamp()
    where h.id in (
        select o.id from devart.holds o
        where o.agent_id = new.id and o.status = 'HELD' and o.expires_at > clock_timestamp()
          and not (o.follows_lease and o.attempt is null)
        order by o.id for no key update);
    return null;
end
$$;
-- At the end of the transaction: whoever deactivates an agent takes its tasks back, and tasks are
-- locked before holds.
drop trigger if exists agents_after_deactivation on devart.agents;
create constraint trigger agents_after_deactivation after update of status on devart.agents
    deferrable initially deferred
    for each row when (new.status = 'DEACTIVATED' and old.status <> 'DEACTIVATED')
    execute function devart_private.agents_after_deactivation();
