-- Who has held one of our tables for longest, as the end of a sentence.
select format(': session %s of %s (%s) has held a table since %s; '
              'to end it: select pg_terminate_backend(%s)',
              a.pid, a.usename, a.application_name, a.xact_start, a.pid)
from pg_catalog.pg_stat_activity a
where a.pid <> pg_catalog.pg_backend_pid() and exists (
    select from pg_catalog.pg_locks l
    join pg_catalog.pg_class c on c.oid = l.relation
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where l.pid = a.pid and l.granted and n.nspname in ('devart', 'devart_private', 'auth')
)
order by a.xact_start limit 1
