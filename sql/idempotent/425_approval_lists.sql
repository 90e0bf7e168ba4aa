-- Lists of approvals by status, through an index (240_task_lists.sql says why by a function).

-- Ids of the approvals with this status that the caller may see, newest first: at most max_rows
-- (1 to 1000), of those before an id. Operators see all.
-- Errors: 22023 max_rows out of range.
create or replace function devart.find_approvals(
    status devart.approval_status, before uuid default null, max_rows int default 50
)
returns setof uuid language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if find_approvals.max_rows is null or find_approvals.max_rows not between 1 and 1000 then
        perform devart_private.refuse_argument('max_rows', 'must be from 1 to 1000');
    end if;
    if devart_private.is_api_caller() and devart.get_my_role() is null then
        return;
    end if;
    if find_approvals.before is null then
        return query
        select a.id from devart.approvals a
        where a.status = find_approvals.status
        order by uuid_send(a.id) desc limit find_approvals.max_rows;
        return;
    end if;
    return query
    select a.id from devart.approvals a
    where a.status = find_approvals.status
      and uuid_send(a.id) < uuid_send(find_approvals.before)
    order by uuid_send(a.id) desc limit find_approvals.max_rows;
end
$$;
