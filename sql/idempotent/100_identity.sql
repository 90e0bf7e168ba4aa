-- What a caller may do, and the accounts of people.
-- (Who is calling in the narrow sense, my_user_id and my_agent_id, is native:
-- pg_devart/src/caller.rs.)
--
-- What policies ask is PL/pgSQL, which keeps its plan: Postgres up to 17 parses and plans the body
-- of a SQL function that it cannot inline in every statement (a quarter of what creating a task
-- took).

-- The app role of the person who calls; null for agents and for people without one.
create or replace function devart.get_my_role()
returns devart.app_role language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    return (select r.role from devart.user_roles r where r.user_id = devart.my_user_id());
end
$$;

-- Whether the caller may manage work: the one predicate behind policies and functions.
create or replace function devart.is_supervisor()
returns boolean language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(devart.get_my_role() in ('supervisor', 'admin'), false);
end
$$;

-- Refuses everybody but supervisors and operators (pg_devart/src/caller/kind.rs says who is one).
-- Errors: 42501.
create or replace function devart_private.require_supervisor()
returns void language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if devart_private.is_api_caller() and not devart.is_supervisor() then
        raise exception 'only supervisors may do this' using errcode = '42501';
    end if;
end
$$;

-- Refuses everybody but admins and operators. Errors: 42501.
create or replace function devart_private.require_admin()
returns void language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if devart_private.is_api_caller() and devart.get_my_role() is distinct from 'admin' then
        raise exception 'only admins may do this' using errcode = '42501';
    end if;
end
$$;

-- Gives each new account the least role, so that nobody is without one and nobody has too much.
create or replace function devart_private.handle_new_user()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    insert into devart.user_roles (user_id) values (new.id) on conflict do nothing;
    return null;
end
$$;

create or replace trigger handle_new_user after insert on auth.users
    for each row execute function devart_private.handle_new_user();

-- The account behind an email address, for the embedded issuer to check a password against.
create or replace function devart_private.authenticate_password_hash(email text)
returns table (user_id uuid, email_address text, encrypted_password text)
language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select u.id, u.email, u.encrypted_password
    from auth.users u
    where lower(u.email) = lower(authenticate_password_hash.email)
$$;

-- Makes or updates an account with the given role. encrypted_password: Argon2id in PHC format.
create or replace function devart_private.put_user(
    email text, encrypted_password text, app_role devart.app_role
)
returns uuid language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_user_id uuid;
begin
    insert into auth.users as u (email, encrypted_password)
    values (lower(put_user.email), put_user.encrypted_password)
    on conflict on constraint users_email_key do update
        set encrypted_password = coalesce(excluded.encrypted_password, u.encrypted_password)
    returning u.id into v_user_id;
    insert into devart.user_roles (user_id, role) values (v_user_id, put_user.app_role)
    on conflict (user_id) do update set role = excluded.role;
    return v_user_id;
end
$$;

create or replace function devart_private.bootstrap_admin(email text, encrypted_password text)
returns uuid language sql security definer
set search_path = pg_catalog, pg_temp as $$
    select devart_private.put_user(email, encrypted_password, 'admin')
$$;
