-- What operators see of the outbox, and do about buried rows: `devart outbox`.

-- A row's state in a word.
create or replace function devart_private.outbox_state(p_row devart_private.outbox)
returns text language sql stable
set search_path = pg_catalog, pg_temp as $$
    select case
        when p_row.buried_at is not null then 'buried'
        when p_row.lease_expires_at > now() then 'leased'
        else 'waiting'
    end
$$;

-- Each topic that has rows: how many wait, are leased and are buried, how old the oldest one is
-- that is not buried, and why the newest failure failed.
create or replace function devart_private.outbox_topics()
returns table (
    topic text, waiting bigint, leased bigint, buried bigint, oldest_at timestamptz, last_error text
)
language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select s.topic,
           count(*) filter (where s.state = 'waiting'), count(*) filter (where s.state = 'leased'),
           count(*) filter (where s.state = 'buried'),
           min(s.created_at) filter (where s.state <> 'buried'),
           (array_agg(s.last_error order by s.id desc) filter (where s.last_error is not null))[1]
    from (
        select o.id, o.topic, o.created_at, o.last_error, devart_private.outbox_state(o) as state
        from devart_private.outbox o
    ) s
    group by s.topic order by s.topic
$$;

-- Single rows, the oldest first. p_topic null: of all topics. due_at is null for a row that waits
-- behind another of its key.
create or replace function devart_private.outbox_rows(
    p_topic text, p_only_buried boolean, p_limit int
)
returns table (
    id bigint, topic text, key text, state text, attempt int, created_at timestamptz,
    due_at timestamptz, last_error text, payload jsonb
)
language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select o.id, o.topic, o.key, devart_private.outbox_state(o), o.attempt, o.created_at,
           nullif(o.next_attempt_at, 'infinity'), o.last_error, devart.readable_json(o.payload)
    from devart_private.outbox o
    where (p_topic is null or o.topic = p_topic) and (not p_only_buried or o.buried_at is not null)
    order by o.id limit p_limit
$$;

-- The rows that are buried now, of p_topic (null: of any): what a command over all of them is
-- about, though more may be buried while it is at work.
create or replace function devart_private.buried_outbox_ids(p_topic text)
returns bigint[] language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(o.id order by o.id), '{}')
    from devart_private.outbox o
    where o.buried_at is not null and (p_topic is null or o.topic = p_topic)
$$;

-- Lets up to 1000 buried rows be delivered again, with all their attempts: those of p_ids and of
-- p_topic, null meaning any. Returns how many; call again until it is 0.
create or replace function devart_private.replay_outbox(p_topic text, p_ids bigint[])
returns int language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_ids bigint[] := array(
        select o.id from devart_private.outbox o
        where o.buried_at is not null and (p_topic is null or o.topic = p_topic)
          and (p_ids is null or o.id = any (p_ids))
        order by o.id limit 1000
    );
    v_count int;
begin
    perform devart_private.lock_outbox_keys(null, v_ids);
    -- It comes first in its key again. While somebody works on a later row of it, it is parked
    -- behind that one.
    update devart_private.outbox o
    set buried_at = null, attempt = 0, next_attempt_at = case when exists (
            select from devart_private.outbox l
            where l.topic = o.topic and l.key = o.key and l.buried_at is null
              and l.lease_expires_at > now()
        ) then 'infinity' else now() end
    where o.id = any (v_ids) and o.buried_at is not null;
    get diagnostics v_count = row_count;
    perform devart_private.wake(t.topic) from (
        select distinct o.topic from devart_private.outbox o where o.id = any (v_ids)
    ) t;
    return v_count;
end
$$;

drop function if exists devart_private.purge_outbox(text, bigint[]);

-- Deletes up to 1000 rows: the buried ones of p_topic (null: of any), or those of p_ids, unless
-- p_only_buried whatever their state. Returns how many; call again until it is 0.
create or replace function devart_private.purge_outbox(
    p_topic text, p_ids bigint[], p_only_buried boolean default false
)
returns int language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_only_buried boolean := p_ids is null or coalesce(p_only_buried, true);
    v_ids bigint[] := array(
        select o.id from devart_private.outbox o
        where (p_topic is null or o.topic = p_topic)
          and (p_ids is null or o.id = any (p_ids))
          and (o.buried_at is not null or not v_only_buried)
        order by o.id limit 1000
    );
    v_count int := 0;
    v_topic record;
begin
    perform devart_private.lock_outbox_keys(null, v_ids);
    for v_topic in
        with gone as (
            delete from devart_private.outbox o
            where o.id = any (v_ids) and (o.buried_at is not null or not v_only_buried)
            returning o.topic, o.key
        )
        select g.topic, count(*) as rows,
            array_agg(distinct g.key) filter (where g.key is not null) as keys
        from gone g group by g.topic
    loop
        v_count := v_count + v_topic.rows;
        perform devart_private.let_next_outbox_rows_go(v_topic.topic, v_topic.keys);
    end loop;
    return v_count;
end
$$;
