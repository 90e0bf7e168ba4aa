-- What became of the rows that were planted: name, fate, reason.
select t.title::text, t.status::text, t.last_error::text
from devart.tasks t
where t.title ^@ 'poison '
union all
select o.key::text, case when o.buried_at is null then 'WAITS' else 'BURIED' end,
    o.last_error::text
from devart_private.outbox o
where o.key ^@ 'poison '
