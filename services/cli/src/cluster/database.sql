-- What everybody who can log in may do by Postgres' defaults, and nobody needs here: it would fill
-- the disk for all, without a limit.
do $$
begin
    execute format('revoke temporary on database %I from public', current_database());
end
$$;
revoke execute on function
    pg_catalog.lo_create(oid), pg_catalog.lo_creat(int), pg_catalog.lo_from_bytea(oid, bytea),
    pg_catalog.lowrite(int, bytea), pg_catalog.lo_put(oid, bigint, bytea)
    from public;
