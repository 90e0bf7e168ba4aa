-- Idempotency-Key: the first request's answer is kept for a day and given again.
-- Both functions run in the transaction of the change, so key, change and answer commit together.

-- What the principal may do, when it is a person's: user:<uuid>; null for agents.
create or replace function devart_private.role_of_principal(p_principal text)
returns devart.app_role language sql stable
set search_path = pg_catalog, pg_temp as $$
    select r.role from devart.user_roles r
    where r.user_id = case when p_principal ^@ 'user:' then substr(p_principal, 6)::uuid end
$$;

-- Whether the principal may still ask what it asked when it had the role p_role. (Whether an agent
-- may act, its call says: pg_devart/src/caller/standing.rs.)
create or replace function devart_private.may_still_ask(p_principal text, p_role devart.app_role)
returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    -- The enum begins with who may do the most.
    select p_role is null
        or coalesce(devart_private.role_of_principal(p_principal) <= p_role, false)
$$;

-- Reserves the key and returns null; or returns the answer kept for it, status and body.
-- A second request with the same key waits here until the first one is decided.
-- Errors: 23505 the key was used with another request, 42501 the principal may do less now than
-- when it asked.
create or replace function devart_private.begin_idempotent(
    principal text, key text, request_hash bytea
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_kept devart_private.idempotency;
begin
    insert into devart_private.idempotency (principal, key, request_hash, app_role)
    values (begin_idempotent.principal, begin_idempotent.key, begin_idempotent.request_hash,
            devart_private.role_of_principal(begin_idempotent.principal))
    on conflict do nothing;
    if found then
        return null;
    end if;
    select i.* into v_kept from devart_private.idempotency i
    where i.principal = begin_idempotent.principal and i.key = begin_idempotent.key;
    if v_kept.request_hash <> begin_idempotent.request_hash then
        raise exception 'Idempotency-Key was used with another request' using errcode = '23505';
    end if;
    if not devart_private.may_still_ask(begin_idempotent.principal, v_kept.app_role) then
        raise exception 'only who may ask gets the answer' using errcode = '42501';
    end if;
    return jsonb_build_object('status', v_kept.status, 'body', v_kept.body);
end
$$;

create or replace function devart_private.finish_idempotent(
    principal text, key text, status int, body jsonb
)
returns void language sql security definer
set search_path = pg_catalog, pg_temp as $$
    update devart_private.idempotency i
    set status = finish_idempotent.status, body = finish_idempotent.body
    where i.principal = finish_idempotent.principal and i.key = finish_idempotent.key
$$;
