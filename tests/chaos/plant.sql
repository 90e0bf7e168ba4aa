-- Runs an insert while the rules of these domains are lifted, in one transaction. Triggers run, so
-- that what is inserted is told of as any other row.

create temporary table lifted on commit drop as
    select c.conname, c.contypid::regtype::text as domain,
        pg_get_constraintdef(c.oid) as definition
    from pg_constraint c
    where c.contypid in ('devart.task_payload'::regtype, 'devart.task_cost'::regtype,
                         'devart_private.outbox_payload'::regtype);

do $$
declare
    v_rule record;
begin
    for v_rule in select * from lifted loop
        execute format('alter domain %s drop constraint %I', v_rule.domain, v_rule.conname);
    end loop;
end
$$;

{insert};

do $$
declare
    v_rule record;
begin
    for v_rule in select * from lifted loop
        execute format('alter domain %s add constraint %I %s',
                       v_rule.domain, v_rule.conname, v_rule.definition);
    end loop;
end
$$;
