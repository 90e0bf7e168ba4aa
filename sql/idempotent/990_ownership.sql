-- Hands everything to devart_owner: definer functions run with its rights, which end at devart's
-- own tables, and not with those of the superuser who installed the extension. A dump does not
-- record the owners of extension members, so this runs again after a restore.

alter schema devart owner to devart_owner;
alter schema devart_private owner to devart_owner;

do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid::regprocedure from pg_proc p
        where p.pronamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
          and p.proowner <> 'devart_owner'::regrole
    loop
        execute format('alter function %s owner to devart_owner', v_function);
    end loop;
end
$$;

do $$
declare
    v_relation regclass;
begin
    for v_relation in
        select c.oid::regclass from pg_class c
        where c.relkind in ('r', 'p', 'v') and c.relowner <> 'devart_owner'::regrole
          and c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
    loop
        execute format('alter table %s owner to devart_owner', v_relation);
    end loop;
end
$$;
