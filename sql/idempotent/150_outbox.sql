-- The way out: rows for bridges, written in the transaction that decides, delivered at least once
-- after it.
--
-- A row waits until next_attempt_at, is leased by a worker of its topic's bridge, and is then
-- deleted (delivered), given a later next_attempt_at (retry) or buried (given up; an operator
-- replays or purges it). A lost lease lets it wait again.
--
-- Of each topic and key only the first row (smallest id) that is not buried may be leased. Rows
-- found behind it are parked (next_attempt_at infinity), so that claims do not meet them again, and
-- set free when the first one leaves. Whoever parks, or lets a first row leave, holds the key's
-- lock: neither can then overlook what the other has not yet committed.

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

-- From now on messages of this topic are written.
create or replace function devart_private.enable_topic(p_topic text)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.restore_settings('outbox_topics');
    update devart.system_settings s set value = s.value || to_jsonb(p_topic), updated_at = now()
    where s.key = 'outbox_topics' and not s.value ? p_topic;
end
$$;

-- The one rule on who delivers what: topic `<bridge>.<what>` belongs to the login
-- devart_bridge_<bridge>. Operators may do all. The session's user counts, since in a definer
-- function the current one is always the owner.
create or replace function devart_private.require_bridge_of(p_topic text)
returns void language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if session_user = 'devart_bridge_' || split_part(p_topic, '.', 1)
       or pg_has_role(session_user, 'service_role', 'usage') then
        return;
    end if;
    raise exception 'role % may not deliver the topic %', session_user, coalesce(p_topic, 'null')
        using errcode = '42501';
end
$$;

-- The number of the lock of a key (devart_private.take_lock). No search_path of its own, so that it
-- becomes part of the query that calls it.
create or replace function devart_private.outbox_key_lock(p_topic text, p_key text)
returns bigint language sql immutable parallel safe as $$
    select pg_catalog.hashtextextended(p_topic || e'\n' || p_key, 0)
$$;

-- Takes the locks of the rows' keys, in one order for everybody. p_topic null: whatever their
-- topic.
create or replace function devart_private.lock_outbox_keys(p_topic text, p_ids bigint[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
    perform devart_private.take_lock(l.number) from (
        select distinct devart_private.outbox_key_lock(o.topic, o.key) as number
        from devart_private.outbox o
        where o.id = any (p_ids) and (p_topic is null or o.topic = p_topic) and o.key is not null
        order by 1
    ) l;
end
$$;

-- Whether a row may be leased before all others of its key: it is the first, and nobody works on
-- one behind it. Such a one was the first when it was leased, so only rows of transactions that
-- committed later are before it: a look at the next few rows finds it. No search_path of its own
-- either; callers pin theirs.
create or replace function devart_private.outbox_key_turn(p_topic text, p_key text, p_id bigint)
returns table (is_its_turn boolean) language sql stable rows 1 as $$
    select not exists (
        select from devart_private.outbox e
        where e.topic = p_topic and e.key = p_key and e.buried_at is null and e.id < p_id
    ) and not exists (
        select from (
            select o.lease_expires_at from devart_private.outbox o
            where o.topic = p_topic and o.key = p_key and o.buried_at is null and o.id > p_id
            order by o.id limit 20
        ) n
        where n.lease_expires_at > now()
    )
$$;

-- Sets the first row of each key free, if it is parked. Under the keys' locks. Returns whether
-- there was one.
create or replace function devart_private.free_outbox_keys(p_topic text, p_keys text[])
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off as $$
begin
    update devart_private.outbox o set next_attempt_at = now()
    from unnest(p_keys) k (key)
    cross join lateral (
        select f.id, f.next_attempt_at from devart_private.outbox f
        where f.topic = p_topic and f.key = k.key and f.buried_at is null
        order by f.id limit 1
    ) first
    cross join lateral devart_private.outbox_key_turn(p_topic, k.key, first.id) turn
    where first.next_attempt_at = 'infinity' and turn.is_its_turn and o.id = first.id;
    return found;
end
$$;

-- The first row of each of these keys has left (null: of none): the next one may go.
create or replace function devart_private.let_next_outbox_rows_go(p_topic text, p_keys text[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if p_keys is not null and devart_private.free_outbox_keys(p_topic, p_keys) then
        perform devart_private.wake(p_topic);
    end if;
end
$$;

-- Of rows with a key, which the caller has locked: those that may be leased. Parks the others. Rows
-- whose key's lock another has are skipped: waiting for it could be a deadlock, as that one may
-- wait for a row of ours.
-- (Dropped: it may have had another result.)
drop function if exists devart_private.sift_outbox_keys(text, bigint[]);
create function devart_private.sift_outbox_keys(
    p_topic text, p_ids bigint[], out first bigint[], out parked int, out skipped int
)
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    v_locked bigint[];
    v_keys text[];
begin
    v_locked := array(
        select o.id from devart_private.outbox o
        where o.id = any (p_ids)
          and devart_private.try_lock(devart_private.outbox_key_lock(o.topic, o.key))
    );
    first := array(
        select o.id from devart_private.outbox o
        cross join lateral devart_private.outbox_key_turn(o.topic, o.key, o.id) turn
        where o.id = any (v_locked) and turn.is_its_turn
    );
    with parked_rows as (
        update devart_private.outbox o
        set next_attempt_at = 'infinity', lease_token = null, lease_expires_at = null
        where o.id = any (v_locked) and o.id <> all (first)
        returning o.key
    )
    select count(*), array_agg(distinct p.key) into parked, v_keys from parked_rows p;
    skipped := cardinality(p_ids) - cardinality(v_locked);
    -- The first row may have been parked behind one that is parked now, its lease having expired.
    perform devart_private.free_outbox_keys(p_topic, v_keys);
end
$$;

-- Leases up to p_limit due rows of a topic (1 to 1000) for p_lease, the longest due first. Fewer
-- rows than asked for mean that no more are due. attempt: how often delivering the row has failed
-- so far. All rows have the same lease_token. p_since passes over what was due before it: the dead
-- entries of delivered rows, which a long transaction of somebody else keeps in the index, and also
-- what became visible there since.
-- Errors: 42501 another bridge's topic, 22023 limit or lease out of bounds.
drop function if exists devart_private.claim_outbox(text, int, interval);
create or replace function devart_private.claim_outbox(
    p_topic text, p_limit int, p_lease interval, p_since timestamptz default null
)
returns table (
    id bigint, key text, payload jsonb, attempt int, created_at timestamptz, due_at timestamptz,
    lease_token uuid
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
-- The plan is the one for a full table, also when it was made while the table was empty.
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
    v_token uuid := gen_random_uuid();
    v_left int := p_limit;
    v_free bigint[];
    v_keyed bigint[];
    v_first bigint[];
    v_parked int;
    v_skipped int;
    v_leased int;
    v_is_contended boolean := false;
begin
    perform devart_private.require_bridge_of(p_topic);
    if not coalesce(
        p_limit between 1 and 1000 and p_lease between '1 second' and '1 day', false) then
        perform devart_private.refuse_argument(
            'limit', 'must be 1 to 1000 rows and lease 1 second to 1 day');
    end if;
    -- More than one round only when rows had to be parked.
    for v_round in 1 .. 50 loop
        select coalesce(array_agg(d.id) filter (where d.key is null), '{}'),
               coalesce(array_agg(d.id) filter (where d.key is not null), '{}')
        into v_free, v_keyed
        from (
            select o.id, o.key from devart_private.outbox o
            where o.topic = p_topic and o.buried_at is null
              and o.next_attempt_at between coalesce(p_since, '-infinity') and now()
              and (o.lease_token is null or o.lease_expires_at <= now())
            order by o.next_attempt_at, o.id limit v_left
            for update skip locked
        ) d;
        v_parked := 0;
        if v_keyed <> '{}' then
            select s.first, s.parked, s.skipped into v_first, v_parked, v_skipped
            from devart_private.sift_outbox_keys(p_topic, v_keyed) s;
            v_free := v_free || v_first;
            v_is_contended := v_is_contended or v_skipped > 0;
        end if;
        return query
        with leased as (
            update devart_private.outbox o
            set lease_token = v_token, lease_expires_at = now() + p_lease
            where o.id = any (v_free)
            returning o.id, o.key, o.payload, o.attempt, o.created_at, o.next_attempt_at
        )
        -- What nobody could read is no message of any topic: its bridge buries it.
        select l.id, l.key, devart.readable_json(l.payload), l.attempt, l.created_at,
               l.next_attempt_at, v_token
        from leased l order by l.id;
        get diagnostics v_leased = row_count;
        v_left := v_left - v_leased;
        exit when v_left = 0 or v_parked = 0;
    end loop;
    if v_is_contended then
        -- Nobody else may come back for what was skipped.
        perform devart_private.wake(p_topic);
    end if;
end
$$;

-- Deletes delivered rows. Returns the ids of those that were still the caller's; of the others
-- somebody else holds the lease. An expired lease is good as long as nobody took the row.
create or replace function devart_private.acknowledge_outbox(
    p_topic text, p_ids bigint[], p_tokens uuid[]
)
returns setof bigint language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
    set enable_seqscan = off as $$
declare
    v_ids bigint[];
    v_keys text[];
begin
    perform devart_private.require_bridge_of(p_topic);
    perform devart_private.lock_outbox_keys(p_topic, p_ids);
    with gone as (
        delete from devart_private.outbox o using unnest(p_ids, p_tokens) h (id, token)
        where o.id = h.id and o.topic = p_topic and o.lease_token = h.token
        returning o.id, o.key
    )
    select array_agg(g.id), array_agg(distinct g.key) filter (where g.key is not null)
    into v_ids, v_keys from gone g;
    perform devart_private.let_next_outbox_rows_go(p_topic, v_keys);
    return query select unnest(v_ids);
end
$$;

-- Takes failures down: each row is tried again after its delay in seconds (taken for 0 to 30 days,
-- lest one delay without sense stops the batch), or buried when that is null or when it has now
-- failed p_max_attempts times. Returns the rows that were still the
-- caller's, and whether they are buried.
create or replace function devart_private.fail_outbox(
    p_topic text, p_ids bigint[], p_tokens uuid[], p_errors text[], p_delays float8[],
    p_max_attempts int
)
returns table (id bigint, buried boolean) language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
    set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_ids bigint[];
    v_keys text[];
begin
    perform devart_private.require_bridge_of(p_topic);
    perform devart_private.lock_outbox_keys(p_topic, p_ids);
    with failed as (
        update devart_private.outbox o
        set attempt = least(o.attempt, 999999999) + 1, lease_token = null, lease_expires_at = null,
            last_error = left(f.error, 2000),
            next_attempt_at = now() + make_interval(
                secs => least(greatest(coalesce(f.delay, 0), 0), 2592000)),
            buried_at = case when f.delay is null or o.attempt + 1 >= p_max_attempts then now() end
        from unnest(p_ids, p_tokens, p_errors, p_delays) f (id, token, error, delay)
        where o.id = f.id and o.topic = p_topic and o.lease_token = f.token
        returning o.id, o.key, o.buried_at
    )
    select array_agg(f.id),
        array_agg(distinct f.key) filter (where f.key is not null and f.buried_at is not null)
    into v_ids, v_keys from failed f;
    perform devart_private.let_next_outbox_rows_go(p_topic, v_keys);
    return query select o.id, o.buried_at is not null from devart_private.outbox o
    where o.id = any (v_ids);
end
$$;

-- Lets leases that have not expired last p_lease from now on. Returns the ids of those rows.
-- Errors: 42501 another bridge's topic, 22023 lease out of bounds.
create or replace function devart_private.extend_outbox(
    p_topic text, p_ids bigint[], p_tokens uuid[], p_lease interval
)
returns setof bigint language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
    set enable_seqscan = off as $$
begin
    perform devart_private.require_bridge_of(p_topic);
    if not coalesce(p_lease between '1 second' and '1 day', false) then
        perform devart_private.refuse_argument('lease', 'must be 1 second to 1 day');
    end if;
    return query
    update devart_private.outbox o set lease_expires_at = now() + p_lease
    from unnest(p_ids, p_tokens) h (id, token)
    where o.id = h.id and o.topic = p_topic and o.lease_token = h.token
      and o.lease_expires_at > now()
    returning o.id;
end
$$;

-- Gives leases back unused; the rows are due at once. Returns how many.
create or replace function devart_private.return_outbox(
    p_topic text, p_ids bigint[], p_tokens uuid[]
)
returns int language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
    set enable_seqscan = off as $$
declare
    v_count int;
begin
    perform devart_private.require_bridge_of(p_topic);
    update devart_private.outbox o set lease_token = null, lease_expires_at = null
    from unnest(p_ids, p_tokens) h (id, token)
    where o.id = h.id and o.topic = p_topic and o.lease_token = h.token;
    get diagnostics v_count = row_count;
    if v_count > 0 then
        perform devart_private.wake(p_topic);
    end if;
    return v_count;
end
$$;

-- How much of a topic waits (parked and retried rows too), is leased and is buried, and the age in
-- seconds of the oldest row that is not delivered; 0 when there is none.
create or replace function devart_private.outbox_depth(
    p_topic text, out waiting bigint, out leased bigint, out buried bigint,
    out oldest_seconds float8
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform devart_private.require_bridge_of(p_topic);
    select count(*) filter (
               where o.buried_at is null and not coalesce(o.lease_expires_at > now(), false)),
           count(*) filter (where o.lease_expires_at > now()),
           count(*) filter (where o.buried_at is not null),
           coalesce(extract(
               epoch from now() - min(o.created_at) filter (where o.buried_at is null)), 0)::float8
    into waiting, leased, buried, oldest_seconds
    from devart_private.outbox o where o.topic = p_topic;
end
$$;
