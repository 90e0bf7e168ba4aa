-- A schema of an attacker: what Postgres offers by name, once more. Each of these does what the
-- original does, and notes when it runs with other rights than those of the caller.

create schema evil;
-- Counts also what is rolled back.
create sequence evil.runs;
grant usage on schema evil to public;
grant usage on sequence evil.runs to public;

-- Raises an error when somebody else than the caller runs it, naming what was run.
create function evil.note(what text) returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if current_user <> coalesce(nullif(current_setting('role'), 'none'), session_user) then
        perform nextval('evil.runs');
        raise exception '% ran as %', what, current_user;
    end if;
    return true;
end
$$;

set search_path = pg_catalog, pg_temp;

-- The types that devart's code works with.
create temp table known as
select t.oid from pg_type t
where t.typnamespace = 'pg_catalog'::regnamespace and t.typname in (
    'bool', 'int2', 'int4', 'int8', 'float8', 'numeric', 'text', 'name', 'uuid', 'json', 'jsonb', 'bytea',
    'timestamptz', 'timestamp', 'date', 'interval', 'oid', 'regclass', 'regtype', 'char', 'bpchar', 'varchar',
    '_text', '_int4', '_int8', '_uuid', '_jsonb', '_float8', 'int8range', 'tstzrange', 'jsonpath',
    'anyelement', 'anyarray', 'anynonarray', 'anyenum', 'anycompatible', 'anycompatiblearray');

-- Functions, also those that give several rows. Not those with OUT arguments: nobody could tell them apart.
do $$
declare
    f record;
begin
    for f in
        select p.oid, p.proname, p.proretset, p.pronargs, format_type(p.prorettype, null) as result,
               array(select format_type(a, null) from unnest(p.proargtypes) with ordinality u (a, n) order by n) as arguments,
               array(select '$' || n from generate_series(1, p.pronargs) n) as parameters
        from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and p.proargmodes is null
          and p.provariadic = 0
          and (p.prorettype in (select k.oid from known k) or p.prorettype = 'void'::regtype)
          and not exists (select from unnest(p.proargtypes) a where a not in (select k.oid from known k))
          -- The result's type must follow from the arguments.
          and (p.prorettype::regtype::text not like 'any%'
               or exists (select from unnest(p.proargtypes) a where a::regtype::text like 'any%'))
    loop
        execute format(
            'create function evil.%I(%s) returns %s %s language plpgsql set search_path = pg_catalog, pg_temp as %L',
            f.proname, array_to_string(f.arguments, ', '), case when f.proretset then 'setof' else '' end, f.result,
            format(
                'begin perform evil.note(%L); %s pg_catalog.%I(%s); end',
                'function ' || f.proname,
                case when f.result = 'void' then 'perform' when f.proretset then 'return query select' else 'return' end,
                f.proname, array_to_string(f.parameters, ', ')));
    end loop;
end
$$;

-- Operators, and once more for each of devart's enumerated types, which then match better than any other.
do $$
declare
    o record;
begin
    for o in
        select row_number() over () as n, x.*
        from (
            select p.oprname as name, format_type(p.oprleft, null) as l, format_type(p.oprright, null) as r,
                   format_type(p.oprresult, null) as result
            from pg_operator p
            where p.oprnamespace = 'pg_catalog'::regnamespace and p.oprkind = 'b' and p.oprcode <> 0
              and p.oprleft in (select k.oid from known k) and p.oprright in (select k.oid from known k)
              and p.oprresult in (select k.oid from known k)
            union all
            select p.oprname, t.oid::regtype::text, t.oid::regtype::text, 'boolean'
            from pg_operator p, pg_type t
            where p.oprnamespace = 'pg_catalog'::regnamespace and p.oprleft = 'anyenum'::regtype
              and p.oprright = 'anyenum'::regtype and t.typnamespace = 'devart'::regnamespace and t.typtype = 'e'
        ) x
    loop
        execute format(
            'create function evil.operator_%s(%s, %s) returns %s language plpgsql set search_path = pg_catalog, pg_temp as %L',
            o.n, o.l, o.r, o.result,
            format(
                'begin perform evil.note(%L); return $1 operator(pg_catalog.%s) $2; end',
                format('operator %s %s %s', o.l, o.name, o.r), o.name));
        execute format(
            'create operator evil.%s (leftarg = %s, rightarg = %s, function = evil.operator_%s)', o.name, o.l, o.r, o.n);
    end loop;
end
$$;

-- Types: a cast to one of these checks its value.
do $$
declare
    t record;
begin
    for t in
        select y.typname, y.oid::regtype::text as original
        from pg_type y
        where (y.typnamespace = 'devart'::regnamespace and y.typtype = 'e')
           or (y.typnamespace = 'pg_catalog'::regnamespace
               and y.typname in ('text', 'uuid', 'jsonb', 'json', 'timestamptz', 'float8', 'int4', 'int8', 'bytea', 'name', 'date', 'numeric', 'interval'))
    loop
        execute format(
            'create domain evil.%I as %s check (evil.note(%L))', t.typname, t.original, 'type ' || t.typname);
    end loop;
end
$$;

-- Relations under the names of ours, in the schema and as temporary ones, which come before all others.
do $$
declare
    c record;
begin
    for c in
        select r.relname, r.oid::regclass::text as original
        from pg_class r
        where r.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace) and r.relkind in ('r', 'v')
    loop
        execute format(
            'create view evil.%I as select (null::%s).* where evil.note(%L)', c.relname, c.original, 'relation ' || c.relname);
        execute format(
            'create temp view %I as select (null::%s).* where evil.note(%L)', c.relname, c.original, 'temporary ' || c.relname);
        execute format('grant all on evil.%I, pg_temp.%I to public', c.relname, c.relname);
    end loop;
end
$$;

reset search_path;
