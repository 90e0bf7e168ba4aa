-- Which idempotent files a database was given, so that unchanged ones are not run again.

set local role devart_owner;

create table devart_private.idempotent_files (
    -- Of the file, or 'catalog' for what all of them have made.
    name text primary key,
    sha256 text not null
);
