-- Rules of the service registry that a constraint cannot say.

-- How many services lead to this one as a substitute of a substitute.
create or replace function devart_private.services_above(p_service_id uuid)
returns int language sql stable
set search_path = pg_catalog, pg_temp as $$
    with recursive above (id, depth) as (
        select p_service_id, 0
        union all
        select s.id, a.depth + 1
        from above a join devart.service_registry s on s.substitute_service_id = a.id
        where a.depth < 6
    )
    select max(a.depth) from above a
$$;

-- Refuses a substitute that leads back to the service itself, or a chain of more than five.
-- One writer at a time: two could each write half of a circle.
create or replace function devart_private.service_registry_before_write()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_next uuid := new.substitute_service_id;
    v_depth int;
begin
    if v_next is null then
        return new;
    end if;
    perform devart_private.take_lock(hashtext('devart substitutes'));
    v_depth := devart_private.services_above(new.id);
    while v_next is not null loop
        v_depth := v_depth + 1;
        if v_next = new.id or v_depth > 5 then
            perform devart_private.refuse_argument(
                'substitute_service_id', 'must lead to at most five others and never back');
        end if;
        -- Locked: who sees the services as they were before another writer fails with 40001.
        select s.substitute_service_id into v_next from devart.service_registry s
        where s.id = v_next for share;
    end loop;
    return new;
end
$$;

create or replace trigger service_registry_before_write
    before insert or update of substitute_service_id on devart.service_registry
    for each row execute function devart_private.service_registry_before_write();
