-- Records the idempotent files that the database was given, names ($1) and hashes ($2), and forgets
-- all others.
with gone as (
    delete from devart_private.idempotent_files f where f.name <> all ($1)
)
insert into devart_private.idempotent_files as f (name, sha256)
select * from unnest($1::text[], $2::text[])
on conflict (name) do update set sha256 = excluded.sha256
where f.sha256 <> excluded.sha256
