-- Idempotency-Key: the first request's answer is kept for a day and given again.
-- Both functions run in the transaction of the change, so key, change and answer commit together.

-- Reserves the key and returns null; or returns the answer kept for it, status and body.
-- A second request with the same key waits here until the first one is decided.
-- Errors: 23505 the key was used with another request.
create or replace function devart_private.begin_idempotent(
    principal text, key text, request_hash bytea
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_kept devart_private.idempotency;
begin
    insert into devart_private.idempotency (principal, key, request_hash)
    values (begin_idempotent.principal, begin_idempotent.key, begin_idempotent.request_hash)
    on conflict do nothing;
    if found then
        return null;
    end if;
    select i.* into v_kept from devart_private.idempotency i
    where i.principal = begin_idempotent.principal and i.key = begin_idempotent.key;
    if v_kept.request_hash <> begin_idempotent.request_hash then
        raise exception 'Idempotency-Key was used with another request' using errcode = '23505';
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
