-- How many connections each login may have at most, so that no part of devart can take those of
-- the others: shares of max_connections. An operator may change them (alter role ... connection
-- limit n): a login that has a limit keeps it, so a high one takes it off.

do $$
declare
    v_all int := current_setting('max_connections')::int;
    v_login record;
begin
    for v_login in
        select r.rolname as name,
            case when r.rolname = 'authenticator' then v_all * 6 / 10
                 when r.rolname = 'devart_grafana' then greatest(v_all / 10, 5)
                 else greatest(v_all / 4, 20) end as most
        from pg_roles r
        where (r.rolname in ('authenticator', 'devart_grafana') or r.rolname ^@ 'devart_bridge_')
          and r.rolconnlimit = -1
    loop
        begin
            execute format('alter role %I connection limit %s', v_login.name, v_login.most);
        exception when insufficient_privilege then
            -- A role that the platform keeps for itself, as Supabase does.
            raise notice 'the login % keeps its connection limit', v_login.name;
        end;
    end loop;
end
$$;
