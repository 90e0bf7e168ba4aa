-- Settings: their defaults, what they are now, and the one way to change them.
--
-- A setting is its row in devart.system_settings, or its default where that row was deleted: for
-- SQL by setting() and setting_number(), for native functions by pg_devart/src/settings.rs, which
-- read the same two tables.

insert into devart_private.setting_defaults as d (key, value, description, schema) values
    ('lease_seconds', '60', 'How long a claim lasts before it must be extended, in seconds.',
     '{"type": "number", "minimum": 5, "maximum": 86400}'),
    ('max_rescues', '10', 'How often a task''s lease may expire before the task fails.',
     '{"type": "integer", "minimum": 1, "maximum": 1000}'),
    ('max_tasks_in_hand', '1000', 'How many tasks an agent may have IN_PROGRESS.',
     '{"type": "integer", "minimum": 1, "maximum": 1000000}'),
    ('priority_aging_seconds', '3600',
     'A waiting task counts one priority higher for each such time it has waited, in seconds.',
     '{"type": "number", "minimum": 1, "maximum": 31536000}'),
    ('retry_base_seconds', '5',
     'Delay before the first retry of a failed task, in seconds; doubles with each retry.',
     '{"type": "number", "minimum": 0, "maximum": 86400}'),
    ('retry_max_seconds', '3600', 'The longest delay before a retry, in seconds, without jitter.',
     '{"type": "number", "minimum": 0, "maximum": 604800}'),
    ('max_defer_seconds', '86400',
     'How long a service can be put off until its provider serves again, in seconds.',
     '{"type": "number", "minimum": 1, "maximum": 31536000}'),
    ('agent_offline_seconds', '90', 'An agent not heard of for so long is OFFLINE, in seconds.',
     '{"type": "number", "minimum": 5, "maximum": 86400}'),
    ('approval_quorum', '1', 'How many people must approve.',
     '{"type": "integer", "minimum": 1, "maximum": 20}'),
    ('approval_expiry_seconds', '604800', 'How long an approval waits for votes, in seconds.',
     '{"type": "number", "minimum": 60, "maximum": 31536000}'),
    ('outlier_detection_stddev', '2.0',
     'Tasks that cost more than the mean plus so many standard deviations are flagged.',
     '{"type": "number", "minimum": 0.1, "maximum": 100}'),
    ('max_lanes', '1000',
     'How many sets of required capabilities (lanes) there may be before callers cannot make more.',
     '{"type": "integer", "minimum": 1, "maximum": 100000}'),
    ('max_lanes_per_caller', '250',
     'How many of the sets of required capabilities (lanes) there are one caller may have made.',
     '{"type": "integer", "minimum": 1, "maximum": 100000}'),
    ('max_hold_seconds', '2592000',
     'How long money may be set aside at once, extensions included, in seconds.',
     '{"type": "number", "minimum": 1, "maximum": 2592000}'),
    ('max_held_usd_per_agent', '1000000000',
     'How much an agent may have set aside at once, over all services, in US dollars.',
     '{"type": "number", "minimum": 0, "maximum": 1000000000}'),
    ('outbox_topics', '[]',
     'Topics that some sidecar delivers. Others write no rows, so that nothing piles up.',
     '{"type": "array", "maxItems": 100, "items": {"type": "string",
       "pattern": "^[a-z][a-z0-9_]{0,30}[.][a-z][a-z0-9_.]{0,30}$"}}')
on conflict (key) do update
    set value = excluded.value, description = excluded.description, schema = excluded.schema
    where (d.value, d.description, d.schema)
        is distinct from (excluded.value, excluded.description, excluded.schema);

-- Gives each setting without a row its row back (p_key null: all of them).
create or replace function devart_private.restore_settings(p_key text default null)
returns void language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.system_settings (key, value, description, schema)
    select d.key, d.value, d.description, d.schema from devart_private.setting_defaults d
    where p_key is null or d.key = p_key
    on conflict (key) do nothing
$$;

select devart_private.restore_settings();

-- Sessions keep what claims ask at each turn (pg_devart/src/pg/cached.rs). Always: also for what
-- replication brings.
create or replace trigger system_settings_forget_cached after insert or update or delete
    on devart.system_settings
    for each statement execute function devart_private.forget_cached();
alter table devart.system_settings enable always trigger system_settings_forget_cached;

-- Sessions keep a default under the table of values: a statement there that changes nothing makes
-- them forget it.
create or replace function devart_private.setting_defaults_after_change()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.system_settings s set value = s.value where false;
    return null;
end
$$;
create or replace trigger setting_defaults_forget_cached
    after insert or update or delete on devart_private.setting_defaults
    for each statement execute function devart_private.setting_defaults_after_change();
alter table devart_private.setting_defaults enable always trigger setting_defaults_forget_cached;

-- A setting's value, or its default; null when there is no such setting.
create or replace function devart_private.setting(p_key text)
returns jsonb language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select s.value from devart.system_settings s where s.key = p_key),
        (select d.value from devart_private.setting_defaults d where d.key = p_key))
$$;

-- What is wrong with a value under a setting's schema, or null.
create or replace function devart_private.schema_violation(p_schema jsonb, p_value jsonb)
returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select case
        when p_schema ->> 'type' = 'integer'
             and (jsonb_typeof(p_value) <> 'number' or p_value::numeric <> trunc(p_value::numeric))
            then 'must be a whole number'
        when p_schema ->> 'type' <> 'integer' and jsonb_typeof(p_value) <> p_schema ->> 'type'
            then format('must be of type %s', p_schema ->> 'type')
        when jsonb_typeof(p_value) = 'number'
             and p_value::numeric < (p_schema ->> 'minimum')::numeric
            then format('must be at least %s', p_schema ->> 'minimum')
        when jsonb_typeof(p_value) = 'number'
             and p_value::numeric > (p_schema ->> 'maximum')::numeric
            then format('must be at most %s', p_schema ->> 'maximum')
        when p_schema ? 'enum' and not p_schema -> 'enum' @> jsonb_build_array(p_value)
            then format('must be one of %s', p_schema ->> 'enum')
        when jsonb_typeof(p_value) = 'array'
             and jsonb_array_length(p_value) > (p_schema ->> 'maxItems')::int
            then format('must have at most %s elements', p_schema ->> 'maxItems')
        when jsonb_typeof(p_value) = 'array' and exists (
             select from jsonb_array_elements(p_value) e
             where jsonb_typeof(e) <> p_schema #>> '{items,type}'
                or (e #>> '{}') !~ (p_schema #>> '{items,pattern}'))
            then format('must have elements of the form %s', p_schema #>> '{items,pattern}')
    end
$$;

-- A setting that is a number; null when there is no such setting. What breaks its schema, as only a
-- change by hand can, counts as the default, as it does in native functions.
create or replace function devart_private.setting_number(p_key text)
returns numeric language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
    select (case
        when s.value is null or devart_private.schema_violation(d.schema, s.value) is not null
            then d.value
        else s.value
    end #>> '{}')::numeric
    from devart_private.setting_defaults d
    left join devart.system_settings s on s.key = d.key
    where d.key = p_key
$$;

-- Changes a setting, as an admin or operator.
-- Errors: 42501 not an admin, P0002 no such key, 22023 the value breaks the setting's schema.
create or replace function devart.set_setting(key text, value jsonb)
returns devart.system_settings language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_setting devart.system_settings;
    v_violation text;
begin
    perform devart_private.require_admin();
    perform devart_private.restore_settings(set_setting.key);
    select s.* into v_setting from devart.system_settings s where s.key = set_setting.key;
    if not found then
        perform devart_private.refuse_argument(
            'key', format('names no setting: %s', left(set_setting.key, 100)), 'P0002');
    end if;
    -- The schema of today: the row's own is as old as the row.
    v_violation := devart_private.schema_violation(
        coalesce((select d.schema from devart_private.setting_defaults d
                  where d.key = set_setting.key), v_setting.schema),
        set_setting.value);
    if set_setting.value is null or v_violation is not null then
        perform devart_private.refuse_argument('value', coalesce(v_violation, 'must be given'));
    end if;
    update devart.system_settings s
    set value = set_setting.value, updated_by = devart.my_user_id(), updated_at = now()
    where s.key = set_setting.key
    returning s.* into v_setting;
    return v_setting;
end
$$;
