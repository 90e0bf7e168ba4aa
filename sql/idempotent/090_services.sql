-- Rules of the service registry that a constraint cannot say.

-- Refuses a substitute that leads back to the service itself, or a chain of more than five.
create or replace function devart_private.service_registry_before_write()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_next uuid := new.substitute_service_id;
    v_depth int := 0;
begin
    if not exists (select from pg_timezone_names z where z.name = new.time_zone) then
        raise exception 'time_zone names no time zone: %', new.time_zone using errcode = '22023';
    end if;
    while v_next is not null loop
        v_depth := v_depth + 1;
        if v_next = new.id or v_depth > 5 then
            raise exception 'substitute_service_id must lead to at most five others and never back' using errcode = '22023';
        end if;
        select s.substitute_service_id into v_next from devart.service_registry s where s.id = v_next;
    end loop;
    return new;
end
$$;

create or replace trigger service_registry_before_write
    before insert or update of substitute_service_id, time_zone on devart.service_registry
    for each row execute function devart_private.service_registry_before_write();
