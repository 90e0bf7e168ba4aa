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

-- Refuses a time that not every part of devart can reckon with (pg_devart/core/src/moment.rs, where
-- the range is told of to others); null passes. Errors: 22023.
create or replace function devart_private.check_moment(p_field text, p_at timestamptz)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if p_at < '1970-01-01 00:00+00' or p_at >= '3000-01-01 00:00+00' then
        perform devart_private.refuse_argument(
            p_field, 'must be from 1970-01-01T00:00:00Z to before 3000-01-01T00:00:00Z');
    end if;
end
$$;

-- Refuses a text that is empty or longer than so many characters; null passes. Errors: 22023.
create or replace function devart_private.check_length(p_field text, p_value text, p_most int)
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if char_length(p_value) not between 1 and p_most then
        perform devart_private.refuse_argument(
            p_field, format('must be 1 to %s characters long', p_most));
    end if;
end
$$;

-- Refuses members of changes that cannot be changed, and changes that have none. Errors: 22023.
create or replace function devart_private.check_changes(p_changes jsonb, p_fields text[])
returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_unknown text;
begin
    if jsonb_typeof(p_changes) <> 'object' then
        perform devart_private.refuse_argument('changes', 'must be an object');
    end if;
    select k into v_unknown from jsonb_object_keys(p_changes) k where k <> all (p_fields) limit 1;
    if found then
        perform devart_private.refuse_argument(
            left(v_unknown, 100), 'is not a field that can be changed');
    end if;
end
$$;
