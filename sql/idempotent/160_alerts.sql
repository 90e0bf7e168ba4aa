-- Alerts: what people must be told. Whoever has one to tell knows no bridge: it goes out over each
-- topic `<bridge>.alert` that some sidecar delivers.

-- Writes an alert: one message of the outbox for each enabled topic that takes alerts. Alerts of
-- one key are delivered in order. p_payload: a JSON object; the message is that with the member
-- kind. What was put into the setting by hand and is no such topic is passed over: nothing there
-- may hinder the charge that has something to tell.
create or replace function devart_private.alert(p_kind text, p_key text, p_payload jsonb)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    select devart_private.enqueue(
        t.topic, p_key, jsonb_build_object('kind', p_kind) || p_payload)
    from (
        select distinct e #>> '{}' as topic
        from jsonb_path_query(
            devart_private.setting('outbox_topics'),
            '$[0 to 99] ? (@ like_regex "^[a-z][a-z0-9_]{0,30}[.]alert$")') e
    ) t
$$;
