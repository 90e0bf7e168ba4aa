//! Each role can do what the table in docs/security.md says and nothing else.

mod operators;
mod table;

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use self::table::{CALLERS, GRAFANA_MAY, MAY};
use crate::support::queue::create;
use crate::support::{Caller, Database, run_sql, sqlstate};

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
        let service: sqlx::types::Uuid =
            sqlx::query_scalar("select id from devart.service_registry")
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
            ("{service}", service.to_string()),
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

/// Tries the statement in a transaction of this session's caller, or of the one given, and takes it back.
async fn may(session: &mut PgConnection, as_caller: Option<Caller>, sql: &str) -> Result<bool> {
    let mut transaction = session.begin().await?;
    if let Some(caller) = as_caller {
        take_on(&mut transaction, caller).await?;
    }
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

/// What PostgREST does at the beginning of each request's transaction.
async fn take_on(transaction: &mut PgConnection, caller: Caller) -> Result<()> {
    sqlx::query(
        "select set_config('search_path', '\"devart\", \"public\"', true), set_config('role', $1, true),
            set_config('request.jwt.claims', $2, true), set_config('request.method', 'POST', true),
            set_config('request.path', '/rpc/any', true), set_config('request.headers', '{}', true)",
    )
    .bind(caller.role())
    .bind(caller.claims())
    .execute(transaction)
    .await?;
    Ok(())
}

/// What the caller of this column can or cannot do against the table.
async fn deviations(
    world: &World,
    column: usize,
    session: &mut PgConnection,
    as_caller: Option<Caller>,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (sql, expected) in MAY {
        let allowed = may(session, as_caller, &world.fill(sql)).await?;
        if allowed != (expected.as_bytes()[column] == b'+') {
            let verb = if allowed { "can" } else { "cannot" };
            wrong.push(format!("{} {verb} {sql}", CALLERS[column]));
        }
    }
    Ok(wrong)
}

#[tokio::test]
async fn each_role_can_do_what_the_table_says_and_nothing_else() -> Result<()> {
    let world = World::create().await?;
    let mut wrong = Vec::new();
    for (column, caller) in world.callers.into_iter().enumerate() {
        let mut session = world.db.session_as(caller).await?;
        wrong.extend(deviations(&world, column, &mut session, None).await?);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn a_session_shaped_like_postgrests_can_do_exactly_the_same() -> Result<()> {
    let world = World::create().await?;
    // One session for all, as from a pool: nothing of one request may be left for the next.
    let mut session = PgConnection::connect(&world.db.authenticator_url()).await?;
    let mut wrong = Vec::new();
    for (column, caller) in world.callers.into_iter().enumerate().rev() {
        wrong.extend(deviations(&world, column, &mut session, Some(caller)).await?);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn grafana_can_read_what_its_dashboards_show_and_nothing_else() -> Result<()> {
    let world = World::create().await?;
    let mut session = PgConnection::connect(&world.db.grafana_url()).await?;
    // Its sessions begin as readers, but may change that.
    let unlock = "set default_transaction_read_only = off";
    run_sql(&mut session, unlock.to_owned()).await?;
    let mut allowed = Vec::new();
    for (sql, _) in MAY {
        if may(&mut session, None, &world.fill(sql)).await? {
            allowed.push(*sql);
        }
    }
    assert_eq!(allowed, GRAFANA_MAY);
    Ok(())
}

#[tokio::test]
async fn operators_manage_everything_but_touch_no_private_table() -> Result<()> {
    let world = World::create().await?;
    let mut session = world.db.session().await?;
    sqlx::query("set role service_role")
        .execute(&mut session)
        .await?;
    for (sql, expected) in [
        ("read: select from devart.tasks", true),
        ("select devart.create_task('t')", true),
        ("select devart.claim_next_task('{agent}')", true),
        ("select devart.set_setting('max_rescues', '5')", true),
        ("update devart.user_roles set role = 'viewer'", true),
        ("select devart_private.put_user('a@b', null, 'admin')", true),
        ("select * from devart_private.agent_api_keys", false),
        ("select * from devart_private.outbox", false),
        ("select * from auth.users", false),
        ("alter table devart.tasks add column c int", false),
    ] {
        let allowed = may(&mut session, None, &world.fill(sql)).await?;
        assert_eq!(allowed, expected, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_private_is_granted_beyond_what_each_login_is_for() -> Result<()> {
    let db = Database::create().await?;
    let granted: Vec<String> = sqlx::query_scalar(
        "select format('%s %s', a.grantee::regrole, o.name)
         from (
             select p.proname as name, p.proacl as acl from pg_proc p
             where p.pronamespace = 'devart_private'::regnamespace
             union all
             select c.relname, c.relacl from pg_class c where c.relnamespace = 'devart_private'::regnamespace
         ) o, aclexplode(o.acl) a
         where a.grantee not in (
             'devart_owner'::regrole, 'service_role'::regrole, 'devart_operator'::regrole)
         order by 1",
    )
    .fetch_all(&db.owner)
    .await?;
    let api = [
        "agent_heartbeat_as",
        "agent_may_listen",
        "agent_may_take_from",
        "authenticate_agent_key",
        "authenticate_password_hash",
        "begin_idempotent",
        "can_grow",
        "charge_service_as",
        "complete_task_as",
        "create_task_as",
        "dispatch_task_as",
        "extend_charge_as",
        "extend_lease_as",
        "finish_idempotent",
        "is_ready",
        "maintain",
        "mark_dispatched_as",
        "readiness",
        "receive_github_delivery",
        "release_charge_as",
        "release_task_as",
        "report_task_failure_as",
        "settle_charge_as",
    ];
    let rabbitmq = [
        "acknowledge_outbox",
        "claim_outbox",
        "extend_outbox",
        "fail_outbox",
        "forget_retired_lanes",
        "invite_waiting_tasks",
        "invite_waiting_tasks",
        "is_ready",
        "outbox_depth",
        "readiness",
        "retired_lanes",
        "return_outbox",
        "task_lanes",
    ];
    let telegram = [
        "acknowledge_outbox",
        "claim_outbox",
        "extend_outbox",
        "fail_outbox",
        "is_ready",
        "outbox_depth",
        "readiness",
        "return_outbox",
    ];
    let login = |role: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{role} {name}")).collect()
    };
    let writers = ["check_json"];
    let expected = [
        login("authenticated", &writers),
        login("authenticator", &api),
        login("devart_agent", &writers),
        login("devart_bridge_rabbitmq", &rabbitmq),
        login("devart_bridge_telegram", &telegram),
    ];
    assert_eq!(granted, expected.concat());
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
        assert!(!may(&mut stranger, None, sql).await?, "{sql}");
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
        (
            "select devart_private.agent_heartbeat_as('devart_owner', '{}', null)",
            false,
        ),
        (
            "select devart_private.agent_heartbeat_as('service_role', '{}', null)",
            false,
        ),
    ] {
        let mut transaction = login.begin().await?;
        let outcome = run_sql(&mut transaction, sql.to_owned()).await;
        assert_eq!(sqlstate(&outcome) == "ok", expected, "{sql}: {outcome:?}");
        transaction.rollback().await?;
    }
    Ok(())
}
