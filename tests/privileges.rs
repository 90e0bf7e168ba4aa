//! Each role can do what the table in design/security.md says and nothing else.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::support::queue::create;
use crate::support::{Caller, Database, run_sql, sqlstate};

/// Who is asked about, in the order of the columns below.
const CALLERS: [&str; 5] = ["anon", "viewer", "supervisor", "admin", "agent"];

/// `sql` with `+` for each caller who may and `-` for each who may not, in the order of [`CALLERS`].
/// A read that gives no rows counts as "may not". `{task}`, `{own}`, `{agent}`, `{approval}`: ids of a waiting
/// task, of one that the agent works on, of another agent, and of an approval;
/// `{hold}` and `{others_hold}`: holds of the agent and of another; `{budget}`: a budget.
const MAY: &[(&str, &str)] = &[
    // read
    (
        "read: select from devart.tasks where id = '{task}'",
        "-+++-",
    ),
    ("read: select from devart.tasks where id = '{own}'", "-++++"),
    (
        "read: select from devart.task_events where task_id = '{own}'",
        "-++++",
    ),
    ("read: select from devart.task_dependencies", "-+++-"),
    (
        "read: select from devart.charges where hold_id is null",
        "-+++-",
    ),
    (
        "read: select from devart.charges where hold_id = '{hold}'",
        "-++++",
    ),
    (
        "read: select from devart.agents where id = '{agent}'",
        "-+++-",
    ),
    (
        "read: select from devart.holds where id = '{hold}'",
        "-++++",
    ),
    (
        "read: select from devart.holds where id = '{others_hold}'",
        "-+++-",
    ),
    ("read: select from devart.budgets", "-+++-"),
    ("read: select from devart.budget_windows", "-+++-"),
    ("read: select from devart.service_prices", "-++++"),
    ("read: select from devart.service_registry", "-++++"),
    ("read: select from devart.service_status", "-++++"),
    ("read: select from devart.queue_depth", "-+++-"),
    ("read: select from devart.agent_status_summary", "-+++-"),
    ("read: select from devart.approvals", "-+++-"),
    ("read: select from devart.approval_votes", "-+++-"),
    ("read: select from devart.system_settings", "-+++-"),
    (
        "read: select from devart.user_roles where user_id = devart.my_user_id()",
        "-+++-",
    ),
    (
        "read: select from devart.user_roles where user_id is distinct from devart.my_user_id()",
        "---+-",
    ),
    ("read: select from devart.audit_log", "---+-"),
    // tasks
    ("select devart.create_task('t')", "--++-"),
    (
        "select devart.create_task('t', parent_task_id => '{own}')",
        "--+++",
    ),
    ("insert into devart.tasks (title) values ('t')", "--++-"),
    (
        "insert into devart.tasks (title, status) values ('t', 'DONE')",
        "-----",
    ),
    (
        "insert into devart.tasks (title, agent_id) values ('t', null)",
        "-----",
    ),
    (
        "select devart.create_tasks('[{\"title\": \"t\"}]')",
        "--++-",
    ),
    (
        "select devart.update_task('{task}', '{\"title\": \"u\"}')",
        "--++-",
    ),
    (
        "read: update devart.tasks set title = 'u' where id = '{task}' returning 1",
        "--++-",
    ),
    (
        "update devart.tasks set status = 'DONE' where id = '{own}'",
        "-----",
    ),
    ("select devart.cancel_task('{task}')", "--++-"),
    ("select devart.delete_task('{task}')", "--++-"),
    ("select devart.retry_task('{dead}')", "--++-"),
    (
        "select devart.decide_approval('{approval}', 'approve')",
        "--++-",
    ),
    // work
    ("select devart.claim_next_task()", "----+"),
    ("select devart.claim_tasks(null, 2)", "----+"),
    ("select devart.claim_next_task('{agent}')", "-----"),
    ("select devart.start_task('{task}')", "----+"),
    ("select devart.agent_heartbeat()", "----+"),
    ("select devart.agent_heartbeat('{agent}')", "-----"),
    ("select devart.extend_lease('{own}', '{token}')", "----+"),
    ("select devart.complete_task('{own}', '{token}')", "----+"),
    (
        "select devart.complete_tasks(array['{own}']::uuid[], array['{token}']::uuid[])",
        "----+",
    ),
    (
        "select devart.report_task_failure('{own}', '{token}', 'e')",
        "----+",
    ),
    (
        "select devart.charge_service((select id from devart.service_registry limit 1), 1)",
        "----+",
    ),
    (
        "select devart.reserve_charge((select id from devart.service_registry limit 1), 1)",
        "----+",
    ),
    (
        "select devart.dispatch_task((select id from devart.service_registry limit 1), 1)",
        "----+",
    ),
    ("select devart.settle_charge('{hold}', 1)", "----+"),
    ("select devart.release_charge('{hold}')", "----+"),
    ("select devart.settle_charge('{others_hold}', 1)", "-----"),
    ("select devart.release_charge('{others_hold}')", "-----"),
    // management
    ("select devart.register_agent('new')", "--++-"),
    ("select devart.rotate_agent_key('{agent}')", "--++-"),
    (
        "select devart.revoke_agent_key('{agent}', '{key}')",
        "--++-",
    ),
    (
        "select devart.set_agent_activation('{agent}', false)",
        "--++-",
    ),
    ("update devart.agents set name = 'x'", "-----"),
    (
        "insert into devart.service_registry (name) values ('new')",
        "---+-",
    ),
    (
        "read: update devart.service_registry set budget_usd = 1 returning 1",
        "---+-",
    ),
    ("update devart.service_registry set spent_usd = 0", "-----"),
    (
        "select devart.increase_budget((select id from devart.service_registry limit 1), 1)",
        "--++-",
    ),
    (
        "select devart.set_service_price((select id from devart.service_registry limit 1), 'second', 1)",
        "---+-",
    ),
    (
        "select devart.update_service((select id from devart.service_registry limit 1), '{\"hard_limit\": false}')",
        "---+-",
    ),
    (
        "select devart.update_budget('{budget}', '{\"budget_usd\": 6}')",
        "---+-",
    ),
    ("select devart.delete_budget('{budget}')", "---+-"),
    ("delete from devart.service_prices", "-----"),
    (
        "insert into devart.budgets (scope, scope_id, budget_usd) values ('user', '{agent}', 1)",
        "---+-",
    ),
    (
        "read: update devart.budgets set budget_usd = 1 returning 1",
        "---+-",
    ),
    ("update devart.budgets set spent_usd = 0", "-----"),
    ("read: delete from devart.budgets returning 1", "---+-"),
    ("delete from devart.holds", "-----"),
    ("update devart.budget_windows set spent_usd = 0", "-----"),
    ("select devart.set_setting('max_rescues', '5')", "---+-"),
    ("update devart.system_settings set value = '5'", "-----"),
    (
        "insert into devart.user_roles (user_id, role) values (devart.my_user_id(), 'admin')",
        "-----",
    ),
    ("update devart.user_roles set role = 'admin'", "-----"),
    ("delete from devart.audit_log", "-----"),
    ("delete from devart.task_events", "-----"),
    (
        "insert into devart.charges (service_id, amount_usd, kind) select id, 1, 'settle' from devart.service_registry",
        "-----",
    ),
    // what is private
    ("select * from devart_private.agent_api_keys", "-----"),
    ("select devart_private.maintain()", "-----"),
    (
        "select devart_private.put_user('a@b', null, 'admin')",
        "-----",
    ),
    ("select * from auth.users", "-----"),
    ("select devart.generate_api_key()", "-----"),
    ("select devart.hash_api_key('k')", "-----"),
    ("select devart.constant_time_equals('a', 'a')", "-----"),
    (
        "select devart.verify_github_signature('s', 'b', 'h')",
        "-----",
    ),
    // harmless
    ("select devart.uuid_v7()", "+++++"),
    ("select devart.render_template('t', '{}')", "+++++"),
    ("select devart.get_my_role()", "+++++"),
    ("select devart.is_supervisor()", "+++++"),
    ("select devart.my_user_id()", "+++++"),
    ("select devart.my_agent_id()", "+++++"),
    ("select devart.is_my_task('{own}')", "----+"),
    ("select devart.is_my_task_in_progress('{own}')", "----+"),
];

/// A database in which there is something to be refused.
struct World {
    db: Database,
    callers: [Caller; 5],
    replacements: Vec<(&'static str, String)>,
}

impl World {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
        let own = create(&db.owner, json!({"title": "own", "priority": "CRITICAL"})).await?;
        let token: sqlx::types::Uuid =
            sqlx::query_scalar("select lease_token from devart.claim_next_task($1)")
                .bind(agent.id)
                .fetch_one(&db.owner)
                .await?;
        let task = create(&db.owner, json!({"title": "waiting"})).await?;
        let dead = create(&db.owner, json!({"title": "dead", "depends_on": [task]})).await?;
        let asking = create(
            &db.owner,
            json!({"title": "asking", "needs_approval": true}),
        )
        .await?;
        sqlx::query("select devart.cancel_task($1)")
            .bind(dead)
            .execute(&db.owner)
            .await?;
        sqlx::query("delete from devart.task_dependencies where task_id = $1")
            .bind(dead)
            .execute(&db.owner)
            .await?;
        create(&db.owner, json!({"title": "depends", "depends_on": [own]})).await?;
        sqlx::raw_sql(
            "insert into devart.service_registry (name, budget_usd) values ('model', 100);
             select devart.set_service_price((select id from devart.service_registry), 'request', 0.01);
             insert into devart.budgets (scope, scope_id, budget_usd) values ('run', gen_random_uuid(), 5), ('user', gen_random_uuid(), 5);
             update devart.budgets set period = 'month' where scope = 'user';
             select devart.charge_service((select id from devart.service_registry), 1);
             insert into devart.approval_votes (approval_id, voter, approve)
             select id, gen_random_uuid(), true from devart.approvals",
        )
        .execute(&db.owner)
        .await?;
        let approval: sqlx::types::Uuid =
            sqlx::query_scalar("select id from devart.approvals where subject_id = $1")
                .bind(asking)
                .fetch_one(&db.owner)
                .await?;
        let budget: sqlx::types::Uuid =
            sqlx::query_scalar("select id from devart.budgets where scope = 'run'")
                .fetch_one(&db.owner)
                .await?;
        let hold = reserve(&db, agent.caller()).await?;
        let others_hold = reserve(&db, other.caller()).await?;
        let callers = [
            Caller::Anon,
            db.person("viewer").await?,
            db.person("supervisor").await?,
            db.person("admin").await?,
            agent.caller(),
        ];
        let replacements = vec![
            ("{task}", task.to_string()),
            ("{own}", own.to_string()),
            ("{dead}", dead.to_string()),
            ("{token}", token.to_string()),
            ("{agent}", other.id.to_string()),
            ("{key}", other.key_id.clone()),
            ("{approval}", approval.to_string()),
            ("{budget}", budget.to_string()),
            ("{hold}", hold),
            ("{others_hold}", others_hold),
        ];
        Ok(Self {
            db,
            callers,
            replacements,
        })
    }

    fn fill(&self, sql: &str) -> String {
        self.replacements
            .iter()
            .fold(sql.to_owned(), |sql, (name, value)| {
                sql.replace(name, value)
            })
    }
}

/// A hold of an agent's.
async fn reserve(db: &Database, caller: Caller) -> Result<String> {
    let mut session = db.session_as(caller).await?;
    let hold = sqlx::query_scalar(
        "select devart.reserve_charge((select id from devart.service_registry), 1) ->> 'hold_id'",
    );
    Ok(hold.fetch_one(&mut session).await?)
}

/// Tries the statement as this session's caller and takes it back.
async fn may(session: &mut PgConnection, sql: &str) -> Result<bool> {
    let mut transaction = session.begin().await?;
    let (sql, must_find) = match sql.strip_prefix("read: ") {
        Some(read) if read.starts_with("select") => (format!("select exists ({read})"), true),
        Some(write) => (
            format!("with w as ({write}) select exists (select from w)"),
            true,
        ),
        None => (sql.to_owned(), false),
    };
    let outcome = sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
        .fetch_optional(&mut *transaction)
        .await;
    let allowed = match sqlstate(&outcome).as_str() {
        "ok" if must_find => {
            let row = outcome?.expect("exists gives a row");
            sqlx::Row::try_get::<bool, _>(&row, 0)?
        }
        "ok" => true,
        "42501" => false,
        other => panic!("{sql} ended with {other}: {outcome:?}"),
    };
    transaction.rollback().await?;
    Ok(allowed)
}

#[tokio::test]
async fn each_role_can_do_what_the_table_says_and_nothing_else() -> Result<()> {
    let world = World::create().await?;
    let mut wrong = Vec::new();
    for (index, name) in CALLERS.iter().enumerate() {
        let mut session = world.db.session_as(world.callers[index]).await?;
        for (sql, expected) in MAY {
            let expected = expected.as_bytes()[index] == b'+';
            if may(&mut session, &world.fill(sql)).await? != expected {
                wrong.push(format!(
                    "{name} {} {sql}",
                    if expected { "cannot" } else { "can" }
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn every_function_and_relation_that_callers_see_has_its_line_in_the_table() -> Result<()> {
    let db = Database::create().await?;
    let names: Vec<String> = sqlx::query_scalar(
        "select distinct proname::text from pg_proc where pronamespace = 'devart'::regnamespace
         union
         select relname::text from pg_class where relnamespace = 'devart'::regnamespace and relkind in ('r', 'p', 'v')",
    )
    .fetch_all(&db.owner)
    .await?;
    let undecided: BTreeSet<&String> = names
        .iter()
        .filter(|name| {
            !MAY.iter()
                .any(|(sql, _)| sql.contains(&format!("devart.{name}")))
        })
        .collect();
    assert!(
        undecided.is_empty(),
        "nobody decided who may use {undecided:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_person_without_a_role_is_nobody() -> Result<()> {
    let db = Database::create().await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let mut stranger = db
        .session_as(Caller::Person(sqlx::types::Uuid::now_v7()))
        .await?;
    for sql in [
        "read: select from devart.tasks",
        "select devart.create_task('t')",
        "select devart.register_agent('a')",
    ] {
        assert!(!may(&mut stranger, sql).await?, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn the_login_of_the_api_can_authenticate_and_nothing_more() -> Result<()> {
    let db = Database::create().await?;
    let mut login = PgConnection::connect(&db.authenticator_url()).await?;
    for (sql, expected) in [
        ("select devart_private.is_ready()", true),
        (
            "select devart_private.authenticate_agent_key('k', '\\x00')",
            true,
        ),
        ("select devart_private.maintain()", true),
        (
            "select devart_private.put_user('a@b', null, 'admin')",
            false,
        ),
        ("select * from devart.tasks", false),
        ("select * from devart_private.agent_api_keys", false),
        ("set local role devart_owner", false),
        ("set local role service_role", false),
    ] {
        let mut transaction = login.begin().await?;
        let outcome = run_sql(&mut transaction, sql.to_owned()).await;
        assert_eq!(sqlstate(&outcome) == "ok", expected, "{sql}: {outcome:?}");
        transaction.rollback().await?;
    }
    Ok(())
}

/// Queries that give the names of what breaks a rule.
const LINTS: &[(&str, &str)] = &[
    (
        "row level security is on for every table",
        "select c.oid::regclass::text from pg_class c
         where c.relkind in ('r', 'p') and not c.relrowsecurity
           and c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and c.relname <> 'migrations'",
    ),
    (
        "every table in devart has a policy",
        "select c.oid::regclass::text from pg_class c
         where c.relkind in ('r', 'p') and c.relnamespace = 'devart'::regnamespace
           and not exists (select from pg_policy p where p.polrelid = c.oid)",
    ),
    (
        "one permissive policy per role and action",
        "select format('%s %s %s', tablename, cmd, roles) from pg_policies where schemaname = 'devart'
         group by tablename, cmd, roles having count(*) > 1",
    ),
    (
        "policies name their role",
        "select policyname::text from pg_policies where schemaname = 'devart' and roles = '{public}'",
    ),
    (
        "definer functions pin their path and belong to devart_owner",
        "select p.oid::regprocedure::text from pg_proc p
         where p.prosecdef and p.pronamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and (p.proowner <> 'devart_owner'::regrole
                or not coalesce(array_to_string(p.proconfig, ' ') like '%search_path=%', false))",
    ),
    (
        "nobody in particular can execute nothing",
        "select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)",
    ),
    (
        "foreign keys have an index",
        "select k.conname::text from pg_constraint k
         where k.contype = 'f' and k.connamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and not exists (
               select from pg_index i where i.indrelid = k.conrelid
                 and (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(k.conkey)] = k.conkey)",
    ),
    (
        "tables have a primary key",
        "select c.oid::regclass::text from pg_class c
         where c.relkind in ('r', 'p') and c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)",
    ),
    (
        "views run as the caller",
        "select c.oid::regclass::text from pg_class c
         where c.relkind = 'v' and c.relnamespace = 'devart'::regnamespace
           and not coalesce('security_invoker=true' = any (c.reloptions), false)",
    ),
];

#[tokio::test]
async fn the_schema_passes_the_lints() -> Result<()> {
    let db = Database::create().await?;
    for (rule, query) in LINTS {
        let broken: Vec<String> = sqlx::query_scalar(*query).fetch_all(&db.owner).await?;
        assert!(broken.is_empty(), "{rule}, but not: {broken:#?}");
    }
    Ok(())
}
