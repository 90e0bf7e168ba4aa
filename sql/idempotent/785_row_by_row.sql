-- Work on many rows of which one may be bad: it is put off, with its reason, and the others are
-- done. What works so is a function of devart_private, p_step, that takes ids and says how many it
-- did.

-- The rows that p_step leaves alone for now.
create or replace function devart_private.put_off(p_step text)
returns uuid[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    select array(
        select p.row_id from devart_private.put_off_rows p
        where p.step = p_step and p.retry_at > now())
$$;

-- Whether an error is about the moment, not about the row: another attempt may overcome it.
create or replace function devart_private.is_of_the_moment(p_sqlstate text)
returns boolean language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select left(p_sqlstate, 2) in ('08', '25', '40', '53', '57', '58')
        or p_sqlstate in ('55P03', '55006')
$$;

-- Does p_step with these rows: with all at once and, if that fails, with one after the other, each
-- taken back for itself. The caller has chosen them without what is put off. Returns how many were
-- done. Errors: those of the moment (is_of_the_moment).
create or replace function devart_private.do_rows(p_step text, p_ids uuid[])
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
    v_count int := 0;
begin
    if p_ids = '{}' then
        return 0;
    end if;
    if cardinality(p_ids) > 1 then
        begin
            execute format('select devart_private.%I($1)', p_step) into v_count using p_ids;
            return v_count;
        exception when others then
            if devart_private.is_of_the_moment(sqlstate) then
                raise;
            end if;
        end;
    end if;
    v_count := 0;
    foreach v_id in array p_ids loop
        v_count := v_count + devart_private.do_row(p_step, v_id);
    end loop;
    return v_count;
end
$$;

-- Does p_step with this row, or puts it off: for a minute, and for twice as long each time, up to
-- an hour. Errors: as do_rows.
create or replace function devart_private.do_row(p_step text, p_id uuid)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_count int;
begin
    execute format('select devart_private.%I($1)', p_step) into v_count using array[p_id];
    delete from devart_private.put_off_rows p where p.step = p_step and p.row_id = p_id;
    return v_count;
exception when others then
    if devart_private.is_of_the_moment(sqlstate) then
        raise;
    end if;
    raise log '% of % met %: %', p_step, p_id, sqlstate, sqlerrm;
    insert into devart_private.put_off_rows as p (step, row_id, sqlstate, reason, retry_at)
    values (p_step, p_id, sqlstate, left(sqlerrm, 1000), now() + interval '1 minute')
    on conflict (step, row_id) do update
        set failures = least(p.failures, 999999999) + 1, sqlstate = excluded.sqlstate,
            reason = excluded.reason, failed_at = now(),
            retry_at = now() + least(
                interval '1 hour', interval '1 minute' * 2.0 ^ least(p.failures, 10));
    return 0;
end
$$;
