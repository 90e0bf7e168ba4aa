-- Titles for searches: taken over in batches, a few seconds after their tasks were created. Until
-- then searches look at the tasks themselves (240_task_lists.sql).

-- Titles that are in the index already follow their tasks at once.
create or replace function devart_private.tasks_after_title_change()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'TRUNCATE' then
        truncate devart_private.task_titles;
    elsif tg_op = 'DELETE' then
        delete from devart_private.task_titles s where s.task_id = old.id;
    elsif new.title <> old.title then
        insert into devart_private.task_titles as s (task_id, title) values (new.id, new.title)
        on conflict (task_id) do update set title = excluded.title;
    end if;
    return null;
end
$$;

create or replace trigger tasks_titles_after_update after update of title on devart.tasks
    for each row execute function devart_private.tasks_after_title_change();
create or replace trigger tasks_titles_after_delete after delete on devart.tasks
    for each row execute function devart_private.tasks_after_title_change();
create or replace trigger tasks_titles_after_truncate after truncate on devart.tasks
    for each statement execute function devart_private.tasks_after_title_change();

-- Below every id that is made at this moment or later.
create or replace function devart_private.first_id_at(p_at timestamptz)
returns uuid language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select rpad(lpad(to_hex(floor(extract(epoch from p_at) * 1000)::bigint), 12, '0'), 32, '0')
        ::uuid
$$;

-- Takes over at most p_limit titles. Returns how many. p_margin: how long a statement takes at most
-- from making an id to getting the number of its transaction.
create or replace function devart_private.index_titles(
    p_limit int, p_margin interval default '10 seconds'
)
returns int language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_progress devart_private.task_title_progress;
    v_count int := 0;
    v_last uuid;
begin
    -- Without a lock: whoever does it at the same time takes over the same titles.
    select p.* into v_progress from devart_private.task_title_progress p;
    -- A number from the future is one of another server: this is its restored dump.
    if v_progress.next_xid <= pg_snapshot_xmin(pg_current_snapshot())
       or v_progress.next_xid > pg_snapshot_xmax(pg_current_snapshot()) then
        with batch as materialized (
            select t.id, t.title from devart.tasks t
            where t.id > v_progress.indexed_to and t.id <= v_progress.next_to
            order by t.id limit p_limit
        ), added as (
            insert into devart_private.task_titles (task_id, title)
            select b.id, b.title from batch b
            on conflict (task_id) do nothing
        )
        select count(*), (array_agg(b.id order by b.id desc))[1] into v_count, v_last from batch b;
        v_progress.indexed_to := case
            when v_count < p_limit then greatest(v_progress.next_to, v_progress.indexed_to)
            else v_last end;
    end if;
    if v_count > 0 then
        -- All at once takes a tenth of one by one, and no search has to look through them.
        perform gin_clean_pending_list('devart_private.task_titles_title_idx');
    end if;
    if coalesce(v_progress.indexed_to >= v_progress.next_to, true)
       and exists (select from devart.tasks t where t.id > v_progress.indexed_to) then
        v_progress.next_to := devart_private.first_id_at(clock_timestamp() - p_margin);
        v_progress.next_xid := pg_snapshot_xmax(pg_current_snapshot());
    end if;
    update devart_private.task_title_progress p
    set indexed_to = v_progress.indexed_to, next_to = v_progress.next_to,
        next_xid = v_progress.next_xid
    where (p.indexed_to, p.next_to, p.next_xid) is distinct from
          (v_progress.indexed_to, v_progress.next_to, v_progress.next_xid);
    return v_count;
end
$$;
