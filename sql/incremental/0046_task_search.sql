-- Titles of tasks, once more, for searches. An index of trigrams on devart.tasks would cost every
-- change of a task's status as much as the change itself; here titles come in batches, afterwards
-- (245_task_titles.sql).

do $$
declare
    -- Where Supabase keeps extensions.
    v_schema name := coalesce(
        (select n.nspname from pg_namespace n where n.nspname = 'extensions'), 'public');
begin
    execute format('create extension if not exists pg_trgm with schema %I', v_schema);
end
$$;

create table devart_private.task_titles (
    task_id uuid primary key,
    title text not null
) with (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);

do $$
begin
    execute (
        select format(
            'create index task_titles_title_idx on devart_private.task_titles
                using gin (title %I.gin_trgm_ops)', n.nspname)
        from pg_extension e join pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'pg_trgm');
end
$$;

-- Up to which id titles are there. Tasks get ids in the order of time, but not their transactions
-- commit in it: next_to becomes indexed_to when every transaction has ended that ran when next_to
-- was chosen, which are those before next_xid.
create table devart_private.task_title_progress (
    is_only_row boolean primary key default true
        constraint task_title_progress_is_only_row_check check (is_only_row),
    indexed_to uuid not null,
    next_to uuid,
    next_xid xid8
);
insert into devart_private.task_title_progress (indexed_to)
values ('00000000-0000-0000-0000-000000000000');
