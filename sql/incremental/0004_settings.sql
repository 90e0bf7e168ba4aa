-- Settings that operators may change while devart runs.

set local role devart_owner;

create table devart.system_settings (
    key text primary key constraint system_settings_key_check check (key ~ '^[a-z][a-z0-9_.]{0,99}$'),
    value jsonb not null,
    description text not null,
    -- The part of JSON Schema that set_setting checks: type, enum, minimum, maximum.
    schema jsonb not null default '{}',
    updated_by uuid,
    updated_at timestamptz not null default now()
);
