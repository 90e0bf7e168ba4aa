//! Values of money that make no sense, and sums of many that do: refused at every door, and where
//! one is inside already it harms nothing but itself.

use anyhow::Result;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{
    amount, audit, budget, charge, claim_funded, costly_task, hold_of, reserve, reserve_with,
    service, service_with, settle, standing, usd,
};
use crate::support::queue::{create, history, start, task};
use crate::support::{Database, refusal, run_sql, sqlstate};

const NO_AMOUNTS: [&str; 5] = ["NaN", "Infinity", "-Infinity", "-1", "1e30"];

/// Every door through which an amount comes in, by SQL. `{}` is the amount, as text.
const DOORS: &[&str] = &[
    "select devart.create_task('t', estimated_cost_usd => '{}'::numeric)",
    "select devart.create_tasks('[{\"title\": \"t\", \"estimated_cost_usd\": \"{}\"}]')",
    "insert into devart.tasks (title, estimated_cost_usd) values ('t', '{}'::numeric)",
    "update devart.tasks set estimated_cost_usd = '{}'::numeric",
    "select devart.update_task((select id from devart.tasks limit 1), '{\"estimated_cost_usd\": \"{}\"}')",
    "insert into devart.service_registry (name, budget_usd) values ('new', '{}'::numeric)",
    "update devart.service_registry set budget_usd = '{}'::numeric",
    "select devart.update_service((select id from devart.service_registry), '{\"budget_usd\": \"{}\"}')",
    "select devart.increase_budget((select id from devart.service_registry), '{}'::numeric)",
    "select devart.increase_budget((select id from devart.service_registry), null, '{}'::numeric)",
    "insert into devart.budgets (scope, scope_id, budget_usd) values ('user', devart.uuid_v7(), '{}'::numeric)",
    "update devart.budgets set budget_usd = '{}'::numeric",
    "select devart.update_budget((select id from devart.budgets), '{\"budget_usd\": \"{}\"}')",
    "select devart.set_service_price((select id from devart.service_registry), 'token', '{}'::numeric)",
    "insert into devart.service_prices (service_id, unit, usd_per_unit) select id, 'token', '{}'::numeric from devart.service_registry",
    "select devart.charge_service((select id from devart.service_registry), '{}'::numeric)",
    "select devart.reserve_charge((select id from devart.service_registry), '{}'::numeric)",
    "select devart.dispatch_task((select id from devart.service_registry), '{}'::numeric)",
    "select devart.settle_charge((select id from devart.holds), '{}'::numeric)",
];

#[tokio::test]
async fn what_is_no_amount_of_money_is_refused_at_every_door() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    budget(&db.owner, "run", Uuid::now_v7(), "10").await?;
    hold_of(&reserve(&db.owner, id, "1").await?);
    create(&db.owner, json!({"title": "t"})).await?;
    let mut session = db.session().await?;
    for door in DOORS {
        for value in NO_AMOUNTS {
            run_sql(&mut session, "begin".to_owned()).await?;
            let outcome = sqlstate(&run_sql(&mut session, door.replace("{}", value)).await);
            run_sql(&mut session, "rollback".to_owned()).await?;
            assert!(
                ["22023", "22003", "23514"].contains(&outcome.as_str()),
                "{door} took {value}: {outcome}"
            );
        }
    }
    audit(&db.owner).await;
    Ok(())
}

/// What is no usage, in SQL, and how its refusal by a function begins.
const NO_USAGE: [(&str, &str); 15] = [
    ("'null'", "usage must be an object of units"),
    ("'{}'", "usage must be an object of units"),
    ("'[1]'", "usage must be an object of units"),
    ("'5'", "usage must be an object of units"),
    ("'{\"request\": \"NaN\"}'", "usage.request must be a number"),
    ("'{\"request\": -1}'", "usage.request must be a number"),
    ("'{\"request\": null}'", "usage.request must be a number"),
    ("'{\"request\": [1]}'", "usage.request must be a number"),
    (
        "'{\"request\": {\"a\": 1}}'",
        "usage.request must be a number",
    ),
    ("'{\"request\": 1e30}'", "usage.request must be a number"),
    (
        "'{\"request\": 1e400}'",
        "usage must not contain a number of more than 400",
    ),
    (
        "jsonb_build_object('request', repeat('7', 6000)::numeric)",
        "usage must not contain a number of more than 400",
    ),
    (
        "(select jsonb_object_agg(n, 1) from generate_series(1, 100000) n)",
        "usage must not be longer than 16 KiB",
    ),
    (
        "jsonb_build_object(repeat('u', 10000), 1)",
        "usage must name each unit",
    ),
    ("jsonb_build_object('', 1)", "usage must name each unit"),
];

/// Functions that take usage; `{}` is the usage.
const USAGE_FUNCTIONS: [&str; 6] = [
    "select devart.reserve_charge((select id from devart.service_registry), usage => {})",
    "select devart.reserve_charge((select id from devart.service_registry), 1, {})",
    "select devart.dispatch_task((select id from devart.service_registry), usage => {})",
    "select devart.dispatch_task((select id from devart.service_registry), 1, {})",
    "select devart.settle_charge((select id from devart.holds), usage => {})",
    "select devart.settle_charge((select id from devart.holds), 1, {})",
];

/// Statements that write usage, as an operator might.
const USAGE_WRITES: [&str; 3] = [
    "insert into devart.charges (service_id, window_id, amount_usd, kind, usage)
     select id, window_id, 0, 'settle', {} from devart.service_registry",
    "insert into devart.holds (service_id, window_id, amount_usd, expires_at, usage)
     select id, window_id, 0, now(), {} from devart.service_registry",
    "update devart.holds set usage = {}",
];

/// Runs a statement without a trace.
async fn tried(session: &mut PgConnection, sql: String) -> Result<sqlx::Result<()>> {
    run_sql(session, "begin".to_owned()).await?;
    let outcome = run_sql(session, sql).await;
    run_sql(session, "rollback".to_owned()).await?;
    Ok(outcome)
}

#[tokio::test]
async fn what_is_no_usage_is_refused_at_every_door() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    sqlx::query("select devart.set_service_price($1, 'request', 0.5)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    hold_of(&reserve(&db.owner, id, "1").await?);
    let mut session = db.session().await?;
    for door in USAGE_FUNCTIONS.iter().chain(&USAGE_WRITES) {
        let sensible = door.replace("{}", "'{\"request\": 2}'");
        let outcome = sqlstate(&tried(&mut session, sensible).await?);
        assert_eq!(outcome, "ok", "{door}");
    }
    for (usage, beginning) in NO_USAGE {
        for door in USAGE_FUNCTIONS {
            let refused = tried(&mut session, door.replace("{}", usage)).await?;
            assert_eq!(sqlstate(&refused), "22023", "{door} {usage}");
            let text = refusal(refused);
            assert!(text.starts_with(beginning), "{door} {usage}: {text}");
        }
        for door in USAGE_WRITES {
            let outcome = sqlstate(&tried(&mut session, door.replace("{}", usage)).await?);
            assert!(
                ["22023", "23514"].contains(&outcome.as_str()),
                "{door} took {usage}: {outcome}"
            );
        }
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_is_no_usage_is_a_422_that_names_it() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let agent = db.agent(&[]).await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve(&mut session, id, "1").await?);
    let api = Api::start(&db).await?;
    let http = api.agent(&agent);
    let many: Map<String, Value> = (0..3_000).map(|n| (n.to_string(), json!(1))).collect();
    for (usage, field) in [
        (json!({}), "usage"),
        (json!([1]), "usage"),
        (json!({"request": "NaN"}), "usage.request"),
        (json!({"request": -1}), "usage.request"),
        (json!({"request": null}), "usage.request"),
        (json!({"request": {"a": 1}}), "usage.request"),
        (json!({"u".repeat(10_000): 1}), "usage"),
        (Value::Object(many), "usage"),
    ] {
        for (path, body) in [
            (
                "/api/tasks/dispatch".to_owned(),
                json!({"service_id": id, "usage": usage}),
            ),
            (
                format!("/api/charges/{hold}/settle"),
                json!({"usage": usage}),
            ),
        ] {
            let refused = http.post(&path, body).await?;
            assert_eq!(refused.problem(422), "invalid_argument", "{path} {field}");
            assert_eq!(refused.body["field"], field, "{path}");
        }
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn functions_name_the_argument_that_is_no_amount() -> Result<()> {
    let db = Database::create().await?;
    service(&db.owner, "model", "10").await?;
    for (sql, field) in [
        (
            "select devart.increase_budget((select id from devart.service_registry), $1::text::numeric)",
            "amount_usd",
        ),
        (
            "select devart.increase_budget((select id from devart.service_registry), null, $1::text::numeric)",
            "budget_usd",
        ),
        (
            "select devart.set_service_price((select id from devart.service_registry), 'token', $1::text::numeric)",
            "usd_per_unit",
        ),
        (
            "select devart.charge_service((select id from devart.service_registry), $1::text::numeric)",
            "amount_usd",
        ),
    ] {
        for value in ["NaN", "Infinity", "1e30"] {
            let refused = sqlx::query(sql).bind(value).execute(&db.owner).await;
            assert_eq!(sqlstate(&refused), "22023", "{sql} {value}");
            let text = refusal(refused);
            assert!(text.starts_with(field), "{text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn estimates_whose_sum_is_large_are_handed_out_and_so_is_what_comes_after() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let id = service_with(&db.owner, json!({"name": "unlimited"})).await?;
    let held: Value = sqlx::query_scalar(
        "select devart.reserve_charge($1, 999999999999.999999, ttl => '30 days')",
    )
    .bind(id)
    .fetch_one(&db.owner)
    .await?;
    hold_of(&held);
    for _ in 0..3 {
        costly_task(&db.owner, "large", id, "999999999999").await?;
    }
    costly_task(&db.owner, "normal", id, "1").await?;
    assert_eq!(claim_funded(&db.owner, agent.id, 2).await?.len(), 2);
    let rest = claim_funded(&db.owner, other.id, 5).await?;
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[1].title, "normal");
    for task in &rest {
        settle(&db.owner, task.hold_id.expect("a hold"), "999999999999").await?;
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_service_is_usable_again_after_the_largest_settlement() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    for _ in 0..2 {
        let hold = hold_of(&reserve(&db.owner, id, "1").await?);
        let settled = settle(&db.owner, hold, "999999999999.999999").await?;
        assert_eq!(settled["suspended"], true);
        let spent = standing(&db.owner, id).await?.spent_usd;
        sqlx::query("select devart.increase_budget($1, null, $2)")
            .bind(id)
            .bind(spent + usd("10"))
            .execute(&db.owner)
            .await?;
        assert_eq!(charge(&db.owner, id, "1", None).await?["success"], true);
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_is_free_is_admitted_also_when_a_budget_is_overdrawn() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    budget(&db.owner, "agent", agent.id, "2").await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 2})).await?);
    settle(&mut session, hold, "5").await?;
    let charged: Value = sqlx::query_scalar("select devart.charge_service($1, 0)")
        .bind(id)
        .fetch_one(&mut session)
        .await?;
    assert_eq!(
        (&charged["success"], amount(&charged, "remaining_usd")),
        (&json!(true), usd("0"))
    );
    hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 0})).await?);
    let cent: Value = reserve_with(&mut session, id, json!({"estimate_usd": 0.01})).await?;
    assert_eq!(cent["admitted"], false);
    // A service whose limit was lowered below what is held.
    hold_of(&reserve(&db.owner, id, "50").await?);
    sqlx::query("update devart.service_registry set budget_usd = 10")
        .execute(&db.owner)
        .await?;
    assert_eq!(charge(&db.owner, id, "0", None).await?["success"], true);
    assert_eq!(charge(&db.owner, id, "0.01", None).await?["success"], false);
    audit(&db.owner).await;
    Ok(())
}

/// Rows as an older devart let them in.
const INSIDE: [(&str, &str); 3] = [
    (
        "an estimate that is no number",
        "alter domain devart.task_cost drop constraint tasks_estimated_cost_usd_check;
         update devart.tasks set estimated_cost_usd = 'NaN' where title = 'bad'",
    ),
    (
        "a limit that is no number",
        "alter table devart.service_registry drop constraint service_registry_budget_usd_check;
         update devart.service_registry set budget_usd = 'NaN', spent_usd = 1 where name = 'bad';
         update devart.service_registry set next_alert_usd = 1 where name = 'bad'",
    ),
    (
        "a sum that has no room",
        "update devart.service_registry set held_usd = 9999999999999999999999.999999 where name = 'bad'",
    ),
];

#[tokio::test]
async fn a_task_whose_money_cannot_be_reckoned_fails_alone() -> Result<()> {
    for (what, sql) in INSIDE {
        for by_start in [false, true] {
            let db = Database::create().await?;
            let agent = db.agent(&[]).await?;
            let columns = json!({"name": "bad", "alert_thresholds": []});
            let bad_service = service_with(&db.owner, columns).await?;
            let good_service = service(&db.owner, "good", "10").await?;
            let bad = costly_task(&db.owner, "bad", bad_service, "1").await?;
            let good = costly_task(&db.owner, "good", good_service, "1").await?;
            sqlx::raw_sql(sql).execute(&db.owner).await?;
            if by_start {
                let started = start(&db.owner, bad, agent.id).await?;
                assert!(started.is_none(), "{what}");
            }
            let claimed = claim_funded(&db.owner, agent.id, 5).await?;
            let ids: Vec<Uuid> = claimed.iter().map(|task| task.task_id).collect();
            assert_eq!(ids, [good], "{what}");
            let set_aside = task(&db.owner, bad).await?;
            assert_eq!(set_aside.status, "FAILED", "{what}");
            let why = set_aside.last_error.expect("a reason");
            assert!(
                why.contains("its money cannot be set aside"),
                "{what}: {why}"
            );
            assert!(set_aside.finished_at.is_some(), "{what}");
            assert_eq!(history(&db.owner, bad).await?, ["TODO", "FAILED"], "{what}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn thresholds_that_no_list_could_show_are_refused_at_every_door() -> Result<()> {
    let db = Database::create().await?;
    service(&db.owner, "model", "10").await?;
    budget(&db.owner, "run", Uuid::now_v7(), "10").await?;
    let mut session = db.session().await?;
    for odd in [
        "'{NULL}'",
        "'{50,NULL}'",
        "'{{1,2},{3,4}}'",
        "'[5:6]={1,2}'",
    ] {
        for door in [
            "insert into devart.service_registry (name, alert_thresholds) values ('new', {})",
            "update devart.service_registry set alert_thresholds = {}",
            "insert into devart.budgets (scope, scope_id, budget_usd, alert_thresholds)
             values ('user', devart.uuid_v7(), 1, {})",
            "update devart.budgets set alert_thresholds = {}",
        ] {
            let outcome = run_sql(&mut session, door.replace("{}", odd)).await;
            assert_eq!(sqlstate(&outcome), "23514", "{door} took {odd}");
        }
    }
    for odd in ["[null]", "[[1], [2]]"] {
        for door in [
            "select devart.update_service((select id from devart.service_registry), '{}')",
            "select devart.update_budget((select id from devart.budgets), '{}')",
        ] {
            let changes = format!("{{\"alert_thresholds\": {odd}}}");
            let outcome = run_sql(&mut session, door.replace("{}", &changes)).await;
            assert_eq!(sqlstate(&outcome), "23514", "{door} took {odd}");
        }
    }
    let api = Api::start(&db).await?;
    let http = api.client(db.person("admin").await?);
    for list in ["/api/services", "/api/services/status", "/api/budgets"] {
        http.get(list).await?.expect(200);
    }
    Ok(())
}

/// Numeric columns that no constraint keeps below infinity; NaN is above it.
const UNBOUNDED: &str = "
    select format('%s.%s.%s', c.relnamespace::regnamespace, c.relname, a.attname)
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_type t on t.oid = a.atttypid
    where c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
      and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
      and coalesce(nullif(t.typbasetype, 0), t.oid) = 'numeric'::regtype
      and not exists (
          select from pg_constraint k
          where k.contype = 'c' and pg_get_constraintdef(k.oid) like '% < %'
            and (k.contypid = t.oid or k.conrelid = c.oid and k.conkey = array[a.attnum])
      )
    order by 1";

/// Computed from the others, and read by nobody but their own row's alerts.
const COMPUTED: [&str; 2] = [
    "devart.budgets.next_alert_usd",
    "devart.service_registry.next_alert_usd",
];

#[tokio::test]
async fn every_amount_that_is_kept_is_a_number() -> Result<()> {
    let db = Database::create().await?;
    let unbounded: Vec<String> = sqlx::query_scalar(UNBOUNDED).fetch_all(&db.owner).await?;
    assert_eq!(unbounded, COMPUTED);
    let id = service(&db.owner, "model", "10").await?;
    reserve(&db.owner, id, "1").await?;
    let mut session = db.session().await?;
    for column in [
        "service_registry set spent_usd",
        "service_registry set held_usd",
        "holds set amount_usd",
    ] {
        let outcome = run_sql(&mut session, format!("update devart.{column} = 'NaN'")).await;
        assert_eq!(sqlstate(&outcome), "23514", "{column}");
    }
    Ok(())
}
