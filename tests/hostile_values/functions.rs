//! Odd values for every function of schema devart and every column that people and agents may
//! write, as everybody who can log in and under each isolation level. A refusal has a name: nothing
//! is an internal error (XX000).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{seed, values};
use crate::support::budget::service;
use crate::support::still_works::Watch;
use crate::support::{Agent, Caller, Database, run_sql};

/// Each statement is tried under one of them, and each function under all.
const ISOLATION_LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];

/// Who calls.
#[derive(Debug, Clone, Copy)]
enum Who {
    Operator,
    Somebody(Caller),
    Bridge(&'static str),
    Grafana,
}

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
             select devart.set_service_price({model}, 'other', 1);
             select devart.charge_service({model}, 1);
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
            (
                "charge_id",
                one("select id from devart.charges where kind = 'settle'").await?,
            ),
            (
                "price_id",
                one("select id from devart.service_prices where unit = 'other'").await?,
            ),
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
            (_, sql_type) => values::of(sql_type, &[]).0,
        }
    }

    /// The labels of the enumerated types, by type.
    async fn labels(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let labels: Vec<(String, Vec<String>)> = sqlx::query_as(
            "select format_type(enumtypid, null), array_agg(enumlabel::text order by enumsortorder)
             from pg_enum group by enumtypid",
        )
        .fetch_all(&self.db.owner)
        .await?;
        Ok(labels.into_iter().collect())
    }

    /// Every function, with each argument odd in turn.
    async fn functions(&self, is_operator: bool) -> Result<Vec<Target>> {
        let labels = self.labels().await?;
        let arguments: Vec<(String, Vec<String>, Vec<String>)> = sqlx::query_as(
            "select p.proname::text, coalesce(p.proargnames[1:p.pronargs], '{}')::text[],
                 array(select format_type(t, null) from unnest(p.proargtypes) with ordinality u (t, n)
                       order by n)
             from pg_proc p
             where p.pronamespace = 'devart'::regnamespace and p.prokind = 'f'
             order by p.proname",
        )
        .fetch_all(&self.db.owner)
        .await?;
        let target = |(name, names, types): (String, Vec<String>, Vec<String>)| {
            let call = |odd: Option<usize>, value: &str| {
                let arguments = names.iter().zip(&types).enumerate();
                let arguments: Vec<String> = arguments
                    .map(|(place, (name, sql_type))| match Some(place) == odd {
                        true => value.to_owned(),
                        false => self.sensible(name, sql_type, is_operator),
                    })
                    .collect();
                format!(
                    "select count(*) from devart.{name}({})",
                    arguments.join(", ")
                )
            };
            let mut statements = vec![call(None, "")];
            for (odd, sql_type) in types.iter().enumerate() {
                let labels = labels.get(sql_type).map(Vec::as_slice);
                let hostile = values::of(sql_type, labels.unwrap_or_default()).1;
                statements.extend(hostile.iter().map(|value| call(Some(odd), value)));
            }
            Target { name, statements }
        };
        Ok(arguments.into_iter().map(target).collect())
    }

    /// Every column that people or agents may write, inserted and updated.
    async fn columns(&self) -> Result<Vec<Target>> {
        let labels = self.labels().await?;
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
            let labels = labels.get(&sql_type).map(Vec::as_slice);
            for value in values::of(&sql_type, labels.unwrap_or_default()).1 {
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

/// Tries all statements, each for itself; gives how many, and those that ended with an internal
/// error. `turn`: which isolation level the first statement of each target has.
async fn attack(
    session: &mut PgConnection,
    targets: &[Target],
    turn: usize,
) -> Result<(usize, Vec<String>)> {
    let (mut tried, mut internal) = (0, Vec::new());
    for (level, isolation) in ISOLATION_LEVELS.iter().enumerate() {
        let set = format!("set default_transaction_isolation = '{isolation}'");
        run_sql(session, set).await?;
        for target in targets {
            for (place, statement) in target.statements.iter().enumerate() {
                if (place + turn) % ISOLATION_LEVELS.len() != level {
                    continue;
                }
                tried += 1;
                if let Some(message) = internal_error(session, statement).await? {
                    let name = &target.name;
                    internal.push(format!("{name}, {isolation}: {message} by {statement}"));
                }
            }
        }
    }
    Ok((tried, internal))
}

/// What the statement ended with, if that is an internal error.
async fn internal_error(session: &mut PgConnection, statement: &str) -> Result<Option<String>> {
    let Err(error) = run_sql(session, statement.to_owned()).await else {
        return Ok(None);
    };
    let error = error
        .as_database_error()
        .with_context(|| format!("the backend is gone: {error} after {statement}"))?;
    let is_internal = error.code().unwrap_or_default().starts_with("XX");
    Ok(is_internal.then(|| error.message().to_owned()))
}

async fn session(db: &Database, who: Who) -> Result<PgConnection> {
    let mut session = match who {
        Who::Somebody(caller) => db.session_as(caller).await?,
        Who::Operator => db.session().await?,
        Who::Bridge(bridge) => PgConnection::connect(&db.bridge_url(bridge)).await?,
        Who::Grafana => PgConnection::connect(&db.grafana_url()).await?,
    };
    let role = match who {
        Who::Operator => "set role service_role;",
        _ => "",
    };
    let sql = format!("{role} set statement_timeout = '20s'; set lock_timeout = '5s'");
    run_sql(&mut session, sql).await?;
    Ok(session)
}

/// One of each kind.
async fn everybody(world: &World) -> Result<Vec<Who>> {
    let db = &world.db;
    let deactivated = db.agent(&[]).await?;
    sqlx::query("select devart.set_agent_activation($1, false)")
        .bind(deactivated.id)
        .execute(&db.owner)
        .await?;
    Ok(vec![
        Who::Operator,
        Who::Somebody(Caller::Anon),
        Who::Somebody(db.person("viewer").await?),
        Who::Somebody(db.person("supervisor").await?),
        Who::Somebody(db.person("admin").await?),
        Who::Somebody(world.agent.caller()),
        Who::Somebody(db.agent(&["hostile2"]).await?.caller()),
        Who::Somebody(deactivated.caller()),
        Who::Bridge("rabbitmq"),
        Who::Bridge("telegram"),
        Who::Grafana,
    ])
}

#[tokio::test]
async fn whatever_anybody_gives_a_normal_task_still_goes_all_of_its_way() -> Result<()> {
    let seed = seed();
    let world = World::create().await?;
    let watch = Watch::begin(&world.db).await?;
    let columns = world.columns().await?;
    let (world, columns) = (&world, &columns);
    let attacks = everybody(world).await?.into_iter().enumerate();
    let attacks = attacks.map(|(number, who)| async move {
        let mut session = session(&world.db, who).await?;
        let turn = number + (seed % 3) as usize;
        let functions = world.functions(matches!(who, Who::Operator)).await?;
        ensure!(functions.len() > 25, "the functions of schema devart");
        let (called, mut internal) = attack(&mut session, &functions, turn).await?;
        let (written, others) = attack(&mut session, columns, turn).await?;
        internal.extend(others);
        let internal = internal.into_iter().map(|what| format!("{who:?}: {what}"));
        // The session stays open, so that one can look at its memory.
        anyhow::Ok((called + written, internal.collect::<Vec<_>>(), session))
    });
    let outcomes = try_join_all(attacks).await?;
    let tried: usize = outcomes.iter().map(|(tried, ..)| tried).sum();
    let internal: BTreeSet<&String> = outcomes.iter().flat_map(|(_, it, _)| it).collect();
    assert!(
        internal.is_empty(),
        "{} of {tried}, DEVART_TEST_SEED={seed}: {internal:#?}",
        internal.len()
    );
    assert!(tried > 5_000, "only {tried} calls");
    let outcome = watch.still_works(&world.db).await;
    outcome.with_context(|| format!("DEVART_TEST_SEED={seed}"))
}
