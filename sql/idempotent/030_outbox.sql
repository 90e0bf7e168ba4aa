-- The way out: rows for sidecars, and wake-ups for whoever waits.

-- Writes a message for a topic that some sidecar delivers; does nothing for a disabled topic.
create or replace function devart_private.enqueue(p_topic text, p_key text, p_payload jsonb)
returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if devart_private.setting('outbox_topics') ? p_topic then
        insert into devart_private.outbox (topic, key, payload) values (p_topic, p_key, p_payload);
        perform devart_private.wake(p_topic);
    end if;
end
$$;
