-- Row level security (docs/security.md): one permissive policy per role and action.
-- (select f()) makes Postgres evaluate f once per statement instead of once per row.

do $$
declare
    v_table regclass;
    v_policy record;
begin
    for v_table in
        select c.oid::regclass from pg_class c
        where c.relkind in ('r', 'p') and not c.relrowsecurity
          and c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
    loop
        execute format('alter table %s enable row level security', v_table);
    end loop;
    -- Policies have no "create or replace": begin from none.
    for v_policy in
        select p.policyname, p.schemaname, p.tablename from pg_policies p
        where p.schemaname = 'devart'
    loop
        execute format(
            'drop policy %I on %I.%I',
            v_policy.policyname, v_policy.schemaname, v_policy.tablename);
    end loop;
end
$$;

-- Whether an agent works on the task or on its parent, or made it. A definer, since a policy on
-- tasks cannot read tasks.
create or replace function devart.is_my_task(task_id uuid)
returns boolean language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from devart.tasks t
        where t.id = is_my_task.task_id
          and (devart.my_agent_id() in (t.agent_id, t.created_by)
               or t.parent_task_id in (select devart.my_tasks_in_progress())));
end
$$;

-- Whether the agent works on the task at this moment.
create or replace function devart.is_my_task_in_progress(task_id uuid)
returns boolean language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from devart.tasks t
        where t.id = is_my_task_in_progress.task_id and t.status = 'IN_PROGRESS'
          and t.agent_id = devart.my_agent_id());
end
$$;

-- What the agent works on at this moment.
create or replace function devart.my_tasks_in_progress()
returns setof uuid language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select t.id from devart.tasks t
    where t.status = 'IN_PROGRESS' and t.agent_id = devart.my_agent_id();
end
$$;

-- tasks
create policy tasks_read on devart.tasks for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy tasks_create on devart.tasks for insert to authenticated
    with check (
        (select devart.is_supervisor())
        and status in ('BLOCKED', 'AWAITING_APPROVAL', 'SCHEDULED', 'TODO'));
create policy tasks_edit on devart.tasks for update to authenticated
    using ((select devart.is_supervisor()) and status not in ('IN_PROGRESS', 'DONE', 'CANCELLED'));
create policy tasks_delete on devart.tasks for delete to authenticated
    using ((select devart.is_supervisor()) and status <> 'IN_PROGRESS');
-- Children of what it works on as well: an earlier attempt, by another agent, may have made them.
create policy tasks_read_own on devart.tasks for select to devart_agent
    using (agent_id = (select devart.my_agent_id()) or created_by = (select devart.my_agent_id())
           or parent_task_id in (select devart.my_tasks_in_progress()));
create policy tasks_create_child on devart.tasks for insert to devart_agent
    with check (
        devart.is_my_task_in_progress(parent_task_id)
        and status in ('BLOCKED', 'AWAITING_APPROVAL', 'SCHEDULED', 'TODO')
    );

-- task_dependencies
create policy task_dependencies_read on devart.task_dependencies for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy task_dependencies_create on devart.task_dependencies for insert to authenticated
    with check ((select devart.is_supervisor()));
create policy task_dependencies_read_own on devart.task_dependencies for select to devart_agent
    using (devart.is_my_task(task_id));
-- Only what the agent made itself: it may see others' children of its task, not hold them up.
create policy task_dependencies_create_own on devart.task_dependencies for insert to devart_agent
    with check (
        exists (
            select from devart.tasks t
            where t.id = task_id and t.created_by = (select devart.my_agent_id()))
        and devart.is_my_task(depends_on));

-- task_events, charges
create policy task_events_read on devart.task_events for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy task_events_read_own on devart.task_events for select to devart_agent
    using (devart.is_my_task(task_id));
create policy charges_read on devart.charges for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy charges_read_own on devart.charges for select to devart_agent
    using (agent_id = (select devart.my_agent_id()));

-- holds, budgets and their closed windows, prices
create policy holds_read on devart.holds for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy holds_read_own on devart.holds for select to devart_agent
    using (agent_id = (select devart.my_agent_id()));
create policy budgets_read on devart.budgets for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy budgets_create on devart.budgets for insert to authenticated
    with check ((select devart.get_my_role()) = 'admin');
create policy budgets_edit on devart.budgets for update to authenticated
    using ((select devart.get_my_role()) = 'admin');
create policy budgets_delete on devart.budgets for delete to authenticated
    using ((select devart.get_my_role()) = 'admin');
create policy budget_windows_read on devart.budget_windows for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy service_prices_read on devart.service_prices for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy service_prices_read_usable on devart.service_prices for select to devart_agent
    using (service_id in (select s.id from devart.service_registry s));

-- agents
create policy agents_read on devart.agents for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy agents_read_self on devart.agents for select to devart_agent
    using (id = (select devart.my_agent_id()));

-- service_registry
create policy service_registry_read on devart.service_registry for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy service_registry_create on devart.service_registry for insert to authenticated
    with check ((select devart.get_my_role()) = 'admin');
create policy service_registry_edit on devart.service_registry for update to authenticated
    using ((select devart.get_my_role()) = 'admin');
create policy service_registry_read_usable on devart.service_registry for select to devart_agent
    using (status <> 'DISABLED');

-- approvals
create policy approvals_read on devart.approvals for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy approval_votes_read on devart.approval_votes for select to authenticated
    using ((select devart.get_my_role()) is not null);

-- settings, roles, audit log
create policy system_settings_read on devart.system_settings for select to authenticated
    using ((select devart.get_my_role()) is not null);
create policy user_roles_read on devart.user_roles for select to authenticated
    using (user_id = (select devart.my_user_id()) or (select devart.get_my_role()) = 'admin');
create policy audit_log_read on devart.audit_log for select to authenticated
    using ((select devart.get_my_role()) = 'admin');

-- Grafana sees every row of what it reads; 950_grants.sql says which columns.
create policy tasks_read_all on devart.tasks for select to devart_grafana using (true);
create policy agents_read_all on devart.agents for select to devart_grafana using (true);
create policy charges_read_all on devart.charges for select to devart_grafana using (true);
create policy service_registry_read_all on devart.service_registry for select to devart_grafana
    using (true);
create policy budgets_read_all on devart.budgets for select to devart_grafana using (true);

-- Members of devart_operator see and change what service_role does, which bypasses policies.
do $$
declare
    v_table regclass;
begin
    for v_table in
        select c.oid::regclass from pg_class c
        where c.relkind in ('r', 'p') and c.relnamespace = 'devart'::regnamespace
    loop
        execute format(
            'create policy operators on %s for all to devart_operator
                using (true) with check (true)',
            v_table);
    end loop;
end
$$;
