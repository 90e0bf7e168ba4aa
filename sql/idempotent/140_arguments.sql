-- How functions refuse an argument: the message begins with its name, for people, and DETAIL is a
-- JSON object that names it, {"field": "<name>"}, for programs. (Native functions:
-- pg_devart/src/error.rs.)

-- Raises "<p_field> <p_problem>". Errors: p_errcode. A function that runs with its caller's rights
-- may not come here and writes DETAIL itself, as create_task does.
create or replace function devart_private.refuse_argument(
    p_field text, p_problem text, p_errcode text default '22023'
)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% %', p_field, p_problem
        using errcode = p_errcode, detail = jsonb_build_object('field', p_field)::text;
end
$$;

-- Refuses members of changes that cannot be changed. Errors: 22023.
create or replace function devart_private.check_changes(p_changes jsonb, p_fields text[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_unknown text;
begin
    select k into v_unknown from jsonb_object_keys(p_changes) k where k <> all (p_fields) limit 1;
    if found then
        perform devart_private.refuse_argument(v_unknown, 'is not a field that can be changed');
    end if;
end
$$;
