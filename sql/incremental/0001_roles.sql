-- The roles of design/security.md, and who owns the two schemas.
-- Roles belong to the whole cluster: another database of it may have made them already.

do $$
declare
    v_role text;
begin
    foreach v_role in array array['devart_owner', 'anon', 'authenticated', 'devart_agent'] loop
        begin
            execute format('create role %I nologin', v_role);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
    begin
        create role service_role nologin bypassrls;
    exception when duplicate_object or unique_violation then
        null;
    end;
    begin
        -- Has no password until an operator gives it one, so nobody can log in as it before.
        create role authenticator login noinherit;
    exception when duplicate_object or unique_violation then
        null;
    end;
end
$$;

grant anon, authenticated, devart_agent to authenticator;

-- Schema devart is the API that PostgREST exposes; devart_private is exposed to nobody.
alter schema devart owner to devart_owner;
alter schema devart_private owner to devart_owner;
create schema if not exists auth authorization devart_owner;

-- A person's functions must not be shadowed by objects that anybody can create.
revoke create on schema public from public;
