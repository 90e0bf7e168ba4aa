-- A fingerprint of all that idempotent files make and grant, so that what was changed by hand since
-- is noticed. Raw columns, since the functions that show them nicely take locks.
with ours as (
    select n.oid from pg_catalog.pg_namespace n
    where n.nspname in ('devart', 'devart_private', 'auth')
)
select encode(sha256(convert_to(coalesce(string_agg(line, e'\n' order by line), ''), 'UTF8')), 'hex')
from (
    select format('schema %s %s %s', n.nspname, n.nspowner, n.nspacl)
    from pg_catalog.pg_namespace n where n.oid in (select oid from ours)
    union all
    select format(
        'relation %s %s %s %s %s %s %s', c.oid, c.relname, c.relowner, c.relacl, c.relrowsecurity,
        c.relforcerowsecurity, c.reloptions)
    from pg_catalog.pg_class c
    where c.relkind in ('r', 'p', 'v') and c.relnamespace in (select oid from ours)
    union all
    select format('column %s %s %s', a.attrelid, a.attname, a.attacl)
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    where a.attacl is not null and c.relnamespace in (select oid from ours)
    union all
    select format('function %s', to_jsonb(p))
    from pg_catalog.pg_proc p where p.pronamespace in (select oid from ours)
    union all
    select format('policy %s', to_jsonb(p))
    from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid
    where c.relnamespace in (select oid from ours)
    union all
    select format('trigger %s', to_jsonb(t))
    from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
    where not t.tgisinternal and c.relnamespace in (select oid from ours)
    union all
    select format('rule %s', to_jsonb(r))
    from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
    where c.relnamespace in (select oid from ours)
    union all
    select format('role %s %s', r.oid, r.rolname)
    from pg_catalog.pg_roles r where r.rolname ^@ 'devart_'
    union all
    select format('default %s', to_jsonb(d)) from devart_private.setting_defaults d
    union all
    select format('lacks %s', d.key) from devart_private.setting_defaults d
    where not exists (select from devart.system_settings s where s.key = d.key)
) lines (line)
