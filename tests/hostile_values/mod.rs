//! Throws odd values at every function of schema devart and at every column that people and agents
//! may write, as each role; and then a normal task must still go all of its way.
//!
//! A refusal has a name: nothing is an internal error (XX000), and no backend dies.

mod values;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{audit, service};
use crate::support::http::Http;
use crate::support::queue::create;
use crate::support::{Agent, Caller, Database, run_sql};

/// A function or the columns of a table, with the statements to try.
struct Target {
    name: String,
    statements: Vec<String>,
}

/// What there is to name in arguments: an id for each argument's name, as an expression.
struct World {
    db: Database,
    agent: Agent,
    ids: BTreeMap<&'static str, String>,
}

impl World {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let agent = db.agent(&["hostile1"]).await?;
        let of_model = |select: &str| format!("(select {select} from devart.service_registry)");
        service(&db.owner, "hostile", "1000").await?;
        let setup = format!(
            "select devart.set_service_price({model}, 'request', 0.01);
             insert into devart.budgets (scope, scope_id, budget_usd)
             values ('user', gen_random_uuid(), 5);
             select devart.create_task('victim ' || n, max_retries => 100)
             from generate_series(1, 20) n;
             select devart.create_task('asking', needs_approval => true);
             select devart.reserve_charge({model}, 1)",
            model = of_model("id"),
        );
        run_sql(&mut db.session().await?, setup).await?;
        let one = |sql: &'static str| sqlx::query_scalar::<_, Uuid>(sql).fetch_one(&db.owner);
        let ids = BTreeMap::from([
            (
                "service_id",
                one("select id from devart.service_registry").await?,
            ),
            ("approval_id", one("select id from devart.approvals").await?),
            ("budget_id", one("select id from devart.budgets").await?),
            ("hold_id", one("select id from devart.holds").await?),
        ]);
        let ids = ids.into_iter();
        let ids = ids
            .map(|(name, id)| (name, format!("'{id}'::uuid")))
            .collect();
        Ok(World { db, agent, ids })
    }

    /// What the argument is while another one is odd.
    fn sensible(&self, name: &str, sql_type: &str, is_operator: bool) -> String {
        let of_task = |column| {
            format!(
                "(select {column} from devart.tasks where status = 'IN_PROGRESS'
                  order by claimed_at desc limit 1)"
            )
        };
        match (name, sql_type) {
            ("task_id", _) => of_task("id"),
            ("lease_token", _) => of_task("lease_token"),
            ("agent_id", _) if is_operator => format!("'{}'::uuid", self.agent.id),
            ("agent_id" | "parent_task_id" | "claim_key", _) => "null::uuid".to_owned(),
            ("decision", _) => "'approve'::text".to_owned(),
            ("key", _) => "'retry_base_seconds'::text".to_owned(),
            ("unit", _) => "'request'::text".to_owned(),
            ("traceparent" | "idempotency_key", _) => "null::text".to_owned(),
            ("usage", _) => "'{\"request\": 1}'::jsonb".to_owned(),
            ("tasks", _) => "'[{\"title\": \"t\"}]'::jsonb".to_owned(),
            (name, "uuid") if self.ids.contains_key(name) => self.ids[name].clone(),
            (_, sql_type) => values::of(sql_type).0,
        }
    }

    /// Every function that has arguments, with each argument odd in turn.
    async fn functions(&self, is_operator: bool) -> Result<Vec<Target>> {
        let arguments: Vec<(String, Vec<String>, Vec<String>)> = sqlx::query_as(
            "select p.proname::text, p.proargnames[1:p.pronargs]::text[],
                 array(select format_type(t, null) from unnest(p.proargtypes) with ordinality u (t, n)
                       order by n)
             from pg_proc p
             where p.pronamespace = 'devart'::regnamespace and p.prokind = 'f' and p.pronargs > 0
             order by p.proname",
        )
        .fetch_all(&self.db.owner)
        .await?;
        let target = |(name, names, types): (String, Vec<String>, Vec<String>)| {
            let call = |odd: usize, value: &str| {
                let arguments = names.iter().zip(&types).enumerate();
                let arguments: Vec<String> = arguments
                    .map(|(place, (name, sql_type))| match place == odd {
                        true => value.to_owned(),
                        false => self.sensible(name, sql_type, is_operator),
                    })
                    .collect();
                format!(
                    "select count(*) from devart.{name}({})",
                    arguments.join(", ")
                )
            };
            let mut statements = Vec::new();
            for (odd, sql_type) in types.iter().enumerate() {
                let hostile = values::of(sql_type).1;
                statements.extend(hostile.iter().map(|value| call(odd, value)));
            }
            Target { name, statements }
        };
        Ok(arguments.into_iter().map(target).collect())
    }

    /// Every column that people or agents may write, inserted and updated.
    async fn columns(&self) -> Result<Vec<Target>> {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "select distinct p.table_name::text, a.attname::text,
                 format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null)
             from information_schema.column_privileges p
             join pg_attribute a on a.attrelid = format('devart.%I', p.table_name)::regclass
                 and a.attname = p.column_name
             join pg_type t on t.oid = a.atttypid
             where p.table_schema = 'devart' and p.privilege_type in ('INSERT', 'UPDATE')
               and p.grantee in ('authenticated', 'devart_agent')",
        )
        .fetch_all(&self.db.owner)
        .await?;
        ensure!(columns.len() > 20, "the columns that people may write");
        let target = |(table, column, sql_type): (String, String, String)| {
            // What a row of the table cannot do without.
            let required: &[(&str, &str)] = match table.as_str() {
                "tasks" => &[("title", "'hostile'")],
                "service_registry" => &[("name", "gen_random_uuid()::text")],
                "budgets" => &[
                    ("scope", "'user'"),
                    ("scope_id", "gen_random_uuid()"),
                    ("budget_usd", "1"),
                ],
                _ => &[],
            };
            let others = required.iter().filter(|(name, _)| *name != column);
            let (names, given): (Vec<&str>, Vec<&str>) = others.copied().unzip();
            let victims = match table.as_str() {
                "tasks" => "title like 'victim%' and status = 'TODO'",
                "service_registry" => "name <> 'normal'",
                _ => "true",
            };
            let mut statements = Vec::new();
            for value in values::of(&sql_type).1 {
                let names = [names.as_slice(), &[column.as_str()]].concat().join(", ");
                let given = [given.as_slice(), &[value.as_str()]].concat().join(", ");
                statements.push(format!(
                    "insert into devart.{table} ({names}) values ({given})"
                ));
                statements.push(format!(
                    "update devart.{table} set {column} = {value} where {victims}"
                ));
            }
            Target {
                name: format!("{table}.{column}"),
                statements,
            }
        };
        Ok(columns.into_iter().map(target).collect())
    }
}

/// Tries all statements, each for itself; gives those that ended with an internal error.
async fn attack(session: &mut PgConnection, targets: &[Target]) -> Result<(usize, Vec<String>)> {
    let (mut tried, mut internal) = (0, Vec::new());
    for target in targets {
        for statement in &target.statements {
            tried += 1;
            let outcome = run_sql(session, statement.clone()).await;
            let Err(error) = outcome else {
                continue;
            };
            let error = error
                .as_database_error()
                .with_context(|| format!("the backend is gone: {error} after {statement}"))?;
            let code = error.code().unwrap_or_default();
            if code.starts_with("XX") {
                internal.push(format!(
                    "{}: {} by {statement}",
                    target.name,
                    error.message()
                ));
            }
        }
    }
    Ok((tried, internal))
}

/// A session of somebody; `None`: of an operator.
async fn session(db: &Database, caller: Option<Caller>) -> Result<PgConnection> {
    let mut session = match caller {
        Some(caller) => db.session_as(caller).await?,
        None => PgConnection::connect(&db.url()).await?,
    };
    let login = match caller {
        Some(_) => "",
        None => "set role service_role;",
    };
    let sql = format!("{login} set statement_timeout = '20s'; set lock_timeout = '5s'");
    run_sql(&mut session, sql).await?;
    Ok(session)
}

#[tokio::test]
async fn whatever_anybody_gives_a_normal_task_still_goes_all_of_its_way() -> Result<()> {
    let world = World::create().await?;
    let db = &world.db;
    let mut canary = db.session().await?;
    let deactivated = db.agent(&[]).await?;
    run_sql(
        &mut db.session().await?,
        format!(
            "select devart.set_agent_activation('{}', false)",
            deactivated.id
        ),
    )
    .await?;
    let callers = [
        None,
        Some(Caller::Anon),
        Some(db.person("viewer").await?),
        Some(db.person("supervisor").await?),
        Some(db.person("admin").await?),
        Some(world.agent.caller()),
        Some(deactivated.caller()),
    ];
    let columns = world.columns().await?;
    let (world, columns) = (&world, &columns);
    let attacks = callers.into_iter().map(|caller| async move {
        let mut session = session(db, caller).await?;
        let functions = world.functions(caller.is_none()).await?;
        let (called, mut internal) = attack(&mut session, &functions).await?;
        let (written, others) = attack(&mut session, columns).await?;
        internal.extend(others);
        anyhow::Ok((called + written, internal))
    });
    let outcomes = try_join_all(attacks).await?;
    let tried: usize = outcomes.iter().map(|(tried, _)| tried).sum();
    let internal: BTreeSet<String> = outcomes.into_iter().flat_map(|(_, it)| it).collect();
    assert!(
        internal.is_empty(),
        "{} of {tried}: {internal:#?}",
        internal.len()
    );
    assert!(tried > 5_000, "only {tried} calls");
    sqlx::query("select 1")
        .execute(&mut canary)
        .await
        .context("a backend died")?;

    a_normal_task_goes_all_of_its_way(db).await?;
    lists_answer(db).await?;
    db.maintain().await?;
    audit(&db.owner).await;
    Ok(())
}

/// Claim, spend and completion, over HTTP, beside all that was let in.
async fn a_normal_task_goes_all_of_its_way(db: &Database) -> Result<()> {
    let api = Api::start(db).await?;
    let agent = db.agent(&["normal"]).await?;
    let http = api.agent(&agent);
    let model = service(&db.owner, "normal", "10").await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let task = json!({
        "title": "normal", "priority": "CRITICAL", "required_capabilities": ["normal"],
        "service_id": model, "estimated_cost_usd": 2, "payload": {"a": 1},
    });
    let id = supervisor.post("/api/tasks", task).await?.expect(201)["id"].clone();
    let claimed = next(&http, &id).await?;
    let hold = claimed["hold_id"].as_str().context("its money")?;
    http.post(
        &format!("/api/charges/{hold}/settle"),
        json!({"amount_usd": 1.5}),
    )
    .await?
    .expect(200);
    let done = json!({"status": "DONE", "lease_token": claimed["lease_token"], "result": {"b": 2}});
    let path = format!("/api/tasks/{}/status", id.as_str().context("an id")?);
    assert_eq!(http.put(&path, done).await?.expect(200)["status"], "DONE");
    Ok(())
}

/// Claims until the task comes; what comes before it is done.
async fn next(http: &Http, id: &serde_json::Value) -> Result<serde_json::Value> {
    for _ in 0..200 {
        let claimed = http
            .post("/api/tasks/claim", json!({"max_tasks": 100}))
            .await?;
        let items = match claimed.status {
            204 => Vec::new(),
            _ => claimed.expect(200)["items"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        };
        if let Some(item) = items.iter().find(|item| item["task_id"] == *id) {
            return Ok(item.clone());
        }
    }
    anyhow::bail!("the normal task is never handed out")
}

/// Every list, to its end.
async fn lists_answer(db: &Database) -> Result<()> {
    create(&db.owner, json!({"title": "one more"})).await?;
    let api = Api::start(db).await?;
    let http = api.client(db.person("admin").await?);
    for list in [
        "/api/tasks",
        "/api/agents",
        "/api/services",
        "/api/services/status",
        "/api/budgets",
        "/api/approvals",
        "/api/settings",
    ] {
        let mut cursor = String::new();
        for _ in 0..1_000 {
            let path = format!("{list}?limit=200{cursor}");
            let page = http.get(&path).await?.expect(200);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    Ok(())
}
