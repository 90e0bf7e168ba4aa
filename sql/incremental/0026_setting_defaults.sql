-- What each setting is as long as nobody has set it: one place for SQL and for native functions.

set local role devart_owner;

create table devart_private.setting_defaults (
    key text primary key
        constraint setting_defaults_key_check check (key ~ '^[a-z][a-z0-9_.]{0,99}$'),
    value jsonb not null,
    description text not null,
    -- The part of JSON Schema that set_setting checks: type, enum, minimum, maximum.
    schema jsonb not null default '{}'
);
comment on table devart_private.setting_defaults is
    'What settings are without a row in system_settings. Written by each migrate.';
