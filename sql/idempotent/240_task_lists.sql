-- Lists of tasks: which ones, newest first, through an index for each filter.
--
-- Under row level security a filter may use an index only if its operator is leakproof, which
-- those of enums and texts are not: a list would read all tasks. So the ids are found here, by a
-- definer that applies the policies of tasks itself (900_policies.sql), and the caller reads the
-- rows.

-- A LIKE pattern for texts that contain these words, whatever characters they have.
create or replace function devart_private.like_pattern(p_words text)
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select '%' || regexp_replace(p_words, '([\\%_])', '\\\1', 'g') || '%'
$$;

-- The first p_rows ids of tasks that fulfil the condition, as a query; p_before may be null.
create or replace function devart_private.newest_tasks(
    p_condition text, p_before uuid, p_rows int
)
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select format(
        '(select t.id from devart.tasks t where %s%s order by t.id desc limit %s)',
        p_condition, ' and t.id < ' || quote_literal(p_before), p_rows)
$$;

-- The same by status and priority, either of which may be null: one query for each pair of them,
-- in the order of tasks_list_idx.
create or replace function devart_private.newest_tasks_by_status(
    p_status devart.task_status, p_priority devart.task_priority,
    p_condition text, p_before uuid, p_rows int
)
returns text[] language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select array_agg(case
        when s.status = 'IN_PROGRESS' then devart_private.newest_tasks(
            format('t.status = %L and t.priority = %L and %s', s.status, p.priority, p_condition),
            p_before, p_rows)
        else format(
            '(select t.id from devart.tasks t where t.status = %L and t.priority = %L and %s%s
              order by uuid_send(t.id) desc limit %s)',
            s.status, p.priority, p_condition,
            ' and uuid_send(t.id) < ' || quote_literal(uuid_send(p_before)), p_rows)
        end)
    from unnest(enum_range(null::devart.task_status)) s (status),
        unnest(enum_range(null::devart.task_priority)) p (priority)
    where (p_status is null or s.status = p_status)
      and (p_priority is null or p.priority = p_priority)
$$;

-- The same of an agent's tasks: those that it has, and those that it had last.
create or replace function devart_private.newest_tasks_of_agent(
    p_agent_id uuid, p_condition text, p_before uuid, p_rows int
)
returns text[] language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select array_agg(devart_private.newest_tasks(
        format('t.agent_id = %L and t.status %s ''IN_PROGRESS'' and %s',
               p_agent_id, o.operator, p_condition),
        p_before, p_rows))
    from unnest(array['=', '<>']) as o (operator)
$$;

-- The same of tasks with a word in their title: the newest one by one, the others by their titles
-- (245_task_titles.sql). p_is_filtered: whether p_condition asks for anything.
create or replace function devart_private.newest_tasks_with_title(
    p_words text, p_condition text, p_is_filtered boolean, p_before uuid, p_rows int
)
returns text[] language sql stable
set search_path = pg_catalog, pg_temp as $$
    select array[
        devart_private.newest_tasks(
            format('t.id > %L and t.title ilike %L and %s', p.indexed_to, l.pattern, p_condition),
            p_before, p_rows),
        format(
            '(select s.task_id from devart_private.task_titles s %s
              where s.title ilike %L and s.task_id <= %L and %s%s
              order by s.task_id desc limit %s)',
            case when p_is_filtered then 'join devart.tasks t on t.id = s.task_id' end,
            l.pattern, p.indexed_to, p_condition,
            ' and s.task_id < ' || quote_literal(p_before), p_rows)]
    from devart_private.task_title_progress p,
        (select devart_private.like_pattern(p_words) as pattern) l
$$;

-- Ids of the tasks that the caller may see and that fulfil all that is not null, newest first: at
-- most max_rows (1 to 1000), of those before an id. q: words in the title. Operators see all.
-- Errors: 22023 max_rows out of range.
create or replace function devart.find_tasks(
    q text default null,
    status devart.task_status default null,
    priority devart.task_priority default null,
    agent_id uuid default null,
    workflow_run_id uuid default null,
    flagged boolean default null,
    before uuid default null,
    max_rows int default 50
)
returns setof uuid language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_me uuid := devart.my_agent_id();
    v_filters text[] := array_remove(array[
        't.status = ' || quote_literal(find_tasks.status),
        't.priority = ' || quote_literal(find_tasks.priority),
        't.agent_id = ' || quote_literal(find_tasks.agent_id),
        't.workflow_run_id = ' || quote_literal(find_tasks.workflow_run_id),
        case when find_tasks.flagged then 't.is_flagged' else 'not t.is_flagged' end], null);
    v_condition text;
    v_queries text[];
begin
    if find_tasks.max_rows is null or find_tasks.max_rows not between 1 and 1000 then
        perform devart_private.refuse_argument('max_rows', 'must be from 1 to 1000');
    end if;
    if devart_private.is_api_caller() and v_me is null and devart.get_my_role() is null then
        return;
    end if;
    if find_tasks.flagged is null then
        v_filters := array_remove(v_filters, 'not t.is_flagged');
    end if;
    v_condition := coalesce(nullif(array_to_string(v_filters, ' and '), ''), 'true');
    if v_me is not null then
        v_condition := v_condition || coalesce(' and t.title ilike ' || quote_literal(
            devart_private.like_pattern(find_tasks.q)), '');
        v_queries := devart_private.newest_tasks_of_agent(
                v_me, v_condition, find_tasks.before, find_tasks.max_rows)
            || devart_private.newest_tasks(
                format('t.parent_task_id is not null and t.created_by = %L
                        and t.agent_id is distinct from %L and %s', v_me, v_me, v_condition),
                find_tasks.before, find_tasks.max_rows);
    elsif find_tasks.q is not null then
        v_queries := devart_private.newest_tasks_with_title(
            find_tasks.q, v_condition, cardinality(v_filters) > 0, find_tasks.before,
            find_tasks.max_rows);
    elsif find_tasks.agent_id is not null and find_tasks.workflow_run_id is null then
        v_queries := devart_private.newest_tasks_of_agent(
            find_tasks.agent_id, v_condition, find_tasks.before, find_tasks.max_rows);
    elsif find_tasks.workflow_run_id is null and find_tasks.flagged is not true
        and (find_tasks.status is not null or find_tasks.priority is not null) then
        v_queries := devart_private.newest_tasks_by_status(
            find_tasks.status, find_tasks.priority, v_condition, find_tasks.before,
            find_tasks.max_rows);
    else
        v_queries := array[devart_private.newest_tasks(
            v_condition, find_tasks.before, find_tasks.max_rows)];
    end if;
    return query execute format(
        'select f.id from (%s) f (id) order by f.id desc limit %s',
        array_to_string(v_queries, ' union all '), find_tasks.max_rows);
end
$$;
