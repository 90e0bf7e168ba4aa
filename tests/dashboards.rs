//! Grafana's dashboards: each query works as the role that Grafana logs in as, and that role can do no more.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use devart_cli::stand_in::telegram::StandIn;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use time::{Duration, OffsetDateTime};

use crate::support::api::Api;
use crate::support::budget::{budget, charge, service, service_with};
use crate::support::grafana::{Dashboard, TimeRange, dashboards, directory, list, text};
use crate::support::promql::{Series, emitted, labels_of, metrics_of, shown};
use crate::support::queue::{claim, complete, create, fail};
use crate::support::telegram::Bridge;
use crate::support::wait::eventually;
use crate::support::{Database, run_sql, sqlstate};

/// A column, and what its values add up to in the world below when that is known beforehand.
type Column = (&'static str, Option<f64>);

/// What each panel of `tasks.json` gets, by title.
const PANELS: &[(&str, &[Column])] = &[
    ("Finished", &[("finished", Some(2.0))]),
    ("Failed", &[("failed", Some(1.0))]),
    ("Average cost of a task", &[("average_usd", Some(0.5))]),
    ("Spent", &[("spent_usd", Some(1.5))]),
    ("Waiting now", &[("waiting", Some(3.0))]),
    ("Longest wait now", &[("waiting_seconds", None)]),
    (
        "Throughput",
        &[
            ("time", None),
            ("finished", Some(2.0)),
            ("failed", Some(1.0)),
        ],
    ),
    (
        "Agents by status",
        &[("status", None), ("agents", Some(2.0))],
    ),
    (
        "Waiting tasks by priority",
        &[("priority", None), ("waiting", Some(3.0))],
    ),
    (
        "Open tasks by status",
        &[("status", None), ("tasks", Some(4.0))],
    ),
    (
        "Waiting time",
        &[("time", None), ("median", None), ("95 of 100", None)],
    ),
    (
        "Money spent per service",
        &[("time", None), ("metric", None), ("usd", Some(1.5))],
    ),
    (
        "Budgets of services",
        &[
            ("service", None),
            ("status", None),
            ("period", None),
            ("budget", Some(10.0)),
            ("spent", Some(1.5)),
            ("held", Some(0.0)),
            ("remaining", Some(8.75)),
            ("used", Some(12.5)),
            ("window ends", None),
        ],
    ),
    (
        "Further budgets",
        &[
            ("of", None),
            ("id", None),
            ("period", None),
            ("budget", Some(5.0)),
            ("spent", Some(1.0)),
            ("held", Some(0.0)),
            ("remaining", Some(4.0)),
            ("window ends", None),
        ],
    ),
];

/// What Grafana must not do, beyond what the table of `privileges` has.
const FORBIDDEN: &[&str] = &[
    "select * from devart.tasks",
    "select title from devart.tasks",
    "select description from devart.tasks",
    "select payload from devart.tasks",
    "select result from devart.tasks",
    "select last_error from devart.tasks",
    "select lease_token from devart.tasks",
    "select name from devart.agents",
    "select detail from devart.agents",
    "select usage from devart.charges",
    "select idempotency_key from devart.charges",
    "select from devart.task_events",
    "select from devart.system_settings",
    "select from devart_private.outbox",
    "select from devart_private.agent_api_keys",
    "select from devart_private.idempotency",
    "select from auth.users",
    "insert into devart.tasks (title) values ('t')",
    "update devart.tasks set priority = 'LOW'",
    "update devart.service_registry set budget_usd = 1000000",
    "delete from devart.charges",
    "truncate devart.charges",
    "create table devart.t ()",
    "create table public.t ()",
    "select devart.create_task('t')",
    "select devart_private.maintain()",
    "set role authenticated",
    "set role devart_agent",
    "set role devart_owner",
    "set role service_role",
];

/// What did not happen to the processes that the test looks at, so that they show no series of it.
const NOT_PROVOKED: &[&str] = &[
    "devart_outbox_buried_total",
    "devart_outbox_retried_total",
    "devart_rabbitmq_connected",
    "devart_rabbitmq_connection_failures_total",
];

/// Two finished tasks that cost a dollar, a failed one, one in work, three that wait; money spent without a task.
async fn world() -> Result<Database> {
    let db = Database::create().await?;
    let (agent, _other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let limited = json!({"name": "limited", "budget_usd": 10, "period": "day"});
    let limited = service_with(&db.owner, limited).await?;
    let unlimited = service_with(&db.owner, json!({"name": "unlimited"})).await?;
    budget(&db.owner, "agent", agent.id, "5").await?;
    for (service, dollars) in [(limited, "0.75"), (unlimited, "0.25")] {
        create(&db.owner, json!({"title": "t", "payload": {"secret": 1}})).await?;
        let claim = claim(&db.owner, agent.id).await?.context("a task")?;
        let mut session = db.session_as(agent.caller()).await?;
        sqlx::query("select devart.charge_service($1, $2::text::numeric, $3)")
            .bind(service)
            .bind(dollars)
            .bind(claim.task_id)
            .execute(&mut session)
            .await?;
        complete(&db.owner, &claim).await?;
    }
    charge(&db.owner, limited, "0.5", None).await?;
    create(&db.owner, json!({"title": "fails"})).await?;
    let failing = claim(&db.owner, agent.id).await?.context("a task")?;
    fail(&db.owner, &failing, false).await?;
    for priority in ["CRITICAL", "HIGH", "HIGH", "LOW"] {
        create(&db.owner, json!({"title": "t", "priority": priority})).await?;
    }
    claim(&db.owner, agent.id).await?.context("a task")?;
    Ok(db)
}

/// The last six hours.
fn range() -> TimeRange {
    let to = OffsetDateTime::now_utc();
    TimeRange {
        from: to - Duration::hours(6),
        to,
    }
}

/// What Grafana gets for a query.
async fn rows(session: &mut PgConnection, sql: &str) -> Result<Vec<Value>> {
    let sql = format!("select to_json(q) from ({sql}) q");
    sqlx::query_scalar(AssertSqlSafe(sql.clone()))
        .fetch_all(session)
        .await
        .with_context(|| format!("Grafana cannot run {sql}"))
}

fn total(rows: &[Value], column: &str) -> f64 {
    rows.iter().filter_map(|row| row[column].as_f64()).sum()
}

#[tokio::test]
async fn each_panel_of_tasks_and_money_shows_what_happened_to_the_role_of_grafana() -> Result<()> {
    let db = world().await?;
    let mut grafana = PgConnection::connect(&db.grafana_url()).await?;
    let dashboard = Dashboard::named("tasks.json")?;
    let mut expected: BTreeMap<&str, &[Column]> = PANELS.iter().copied().collect();
    for query in dashboard.queries() {
        let sql = dashboard.expand(text(&query.target["rawSql"]), range())?;
        let rows = rows(&mut grafana, &sql).await?;
        assert!(!rows.is_empty(), "{} shows nothing", query.panel);
        let columns = expected.remove(query.panel);
        let columns = columns.with_context(|| format!("nobody expects {}", query.panel))?;
        let found: BTreeSet<&String> = rows[0].as_object().context("a row")?.keys().collect();
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, names.iter().collect(), "{}", query.panel);
        for (column, sum) in columns
            .iter()
            .filter_map(|(name, sum)| Some((name, (*sum)?)))
        {
            let found = total(&rows, column);
            assert!(
                (found - sum).abs() < 1e-9,
                "{}: {column} is {found}, not {sum}: {rows:#?}",
                query.panel
            );
        }
    }
    assert!(expected.is_empty(), "no panel shows {:?}", expected.keys());
    Ok(())
}

#[tokio::test]
async fn each_panel_also_works_on_an_empty_database() -> Result<()> {
    let db = Database::create().await?;
    let mut grafana = PgConnection::connect(&db.grafana_url()).await?;
    let dashboard = Dashboard::named("tasks.json")?;
    for query in dashboard.queries() {
        let sql = dashboard.expand(text(&query.target["rawSql"]), range())?;
        rows(&mut grafana, &sql).await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_panel_reads_all_finished_tasks() -> Result<()> {
    let db = Database::create().await?;
    let mut grafana = PgConnection::connect(&db.grafana_url()).await?;
    let dashboard = Dashboard::named("tasks.json")?;
    let mut by_id = 0;
    for query in dashboard.queries() {
        let sql = dashboard.expand(text(&query.target["rawSql"]), range())?;
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("explain {sql}")))
            .fetch_all(&mut grafana)
            .await?;
        let plan = plan.join("\n");
        let reads_all = plan.contains("Seq Scan on tasks");
        assert!(!reads_all, "{}: {plan}", query.panel);
        if sql.contains("from devart.tasks") {
            assert!(plan.contains("(id >= "), "{}: {plan}", query.panel);
            by_id += 1;
        } else {
            let reads_all = plan.contains("tasks_pkey");
            assert!(!reads_all, "{}: {plan}", query.panel);
        }
    }
    assert_eq!(by_id, 4);
    Ok(())
}

#[tokio::test]
async fn grafana_reads_no_content_and_no_secret_and_writes_nothing() -> Result<()> {
    let db = world().await?;
    let mut grafana = PgConnection::connect(&db.grafana_url()).await?;
    let defaults: (String, String) = sqlx::query_as(
        "select current_setting('default_transaction_read_only'), current_setting('statement_timeout')",
    )
    .fetch_one(&mut grafana)
    .await?;
    assert_eq!(defaults, ("on".to_owned(), "30s".to_owned()));
    // What only a default forbids is not forbidden.
    let unlock = "set default_transaction_read_only = off";
    run_sql(&mut grafana, unlock.to_owned()).await?;
    for sql in FORBIDDEN {
        let mut transaction = grafana.begin().await?;
        let outcome = run_sql(&mut transaction, (*sql).to_owned()).await;
        assert_eq!(sqlstate(&outcome), "42501", "{sql}");
        transaction.rollback().await?;
    }
    Ok(())
}

#[test]
fn dashboards_have_fixed_unique_uids_and_let_people_choose_the_data_source() -> Result<()> {
    let dashboards = dashboards()?;
    assert_eq!(
        dashboards.iter().map(|it| &it.file).collect::<Vec<_>>(),
        ["operations.json", "tasks.json"]
    );
    let mut uids = BTreeSet::new();
    for dashboard in &dashboards {
        let (file, json) = (&dashboard.file, &dashboard.json);
        let uid = text(&json["uid"]);
        assert!(uid.starts_with("devart-"), "{file}: {uid}");
        assert!(uids.insert(uid), "{file}: {uid} is taken");
        assert!(json["id"].is_null(), "{file}: ids belong to a Grafana");
        let source = dashboard.variables().next().context("a variable")?;
        assert_eq!(source["name"], "datasource", "{file}");
        assert_eq!(source["type"], "datasource", "{file}");
        let wanted = json!({"type": source["query"], "uid": "${datasource}"});
        for panel in dashboard.charts() {
            let title = text(&panel["title"]);
            assert!(!text(&panel["description"]).is_empty(), "{file}: {title}");
            assert_eq!(panel["datasource"], wanted, "{file}: {title}");
            assert!(list(&panel["targets"]).count() > 0, "{file}: {title}");
        }
        for query in dashboard.queries() {
            assert_eq!(
                query.target["datasource"], wanted,
                "{file}: {}",
                query.panel
            );
        }
        let ids: BTreeSet<String> = dashboard.panels().map(|it| it["id"].to_string()).collect();
        assert_eq!(
            ids.len(),
            dashboard.panels().count(),
            "{file}: ids of panels"
        );
    }
    Ok(())
}

#[test]
fn no_two_panels_lie_on_each_other() -> Result<()> {
    for dashboard in dashboards()? {
        let mut taken = BTreeMap::new();
        for panel in dashboard.panels() {
            let at = |name: &str| panel["gridPos"][name].as_i64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{}: {panel:#}", dashboard.file);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    let other = taken.insert((x, y), &panel["title"]);
                    assert!(other.is_none(), "{} lies on {other:?}", panel["title"]);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_variable_of_the_provisioning_is_explained() -> Result<()> {
    let readme = std::fs::read_to_string(directory().join("README.md"))?;
    let mut found = BTreeSet::new();
    for file in ["datasources/devart.yaml", "dashboards/devart.yaml"] {
        let yaml = std::fs::read_to_string(directory().join("provisioning").join(file))?;
        for after in yaml.split('$').skip(1) {
            let end = after.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            found.insert(after[..end.unwrap_or(after.len())].to_owned());
        }
    }
    assert!(found.contains("GRAFANA_POSTGRES_PASSWORD"), "{found:?}");
    for variable in found {
        assert!(readme.contains(&format!("| `{variable}` |")), "{variable}");
    }
    Ok(())
}

#[test]
fn every_metric_of_operations_is_one_that_the_code_emits() -> Result<()> {
    let emitted = emitted()?;
    for query in Dashboard::named("operations.json")?.queries() {
        let metrics = metrics_of(text(&query.target["expr"]));
        assert!(!metrics.is_empty(), "{} names no metric", query.panel);
        for metric in metrics {
            assert!(emitted.contains(&metric), "{}: {metric}", query.panel);
        }
    }
    Ok(())
}

/// What an API and a bridge show after an answer and an alert.
async fn scrape() -> Result<Series> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let api = Api::start(&db).await?;
    api.anonymous.get("/api/tasks").await?;
    let telegram = StandIn::start().await?;
    let bridge = Bridge::start(&db.bridge_url("telegram"), &telegram.url()).await?;
    let service = service(&db.owner, "model", "1").await?;
    charge(&db.owner, service, "1", None).await?;
    let mut series = eventually("the bridge shows its delivery and the outbox", async || {
        let series = shown(&bridge.metrics().await.ok()?);
        ["devart_outbox_delivered_total", "devart_outbox_depth"]
            .iter()
            .all(|name| series.contains_key(*name))
            .then_some(series)
    })
    .await;
    series.extend(shown(&api.anonymous.get("/metrics").await?.text));
    Ok(series)
}

#[tokio::test]
async fn running_parts_show_the_series_and_labels_that_operations_asks_for() -> Result<()> {
    let series = scrape().await?;
    let mut missing = BTreeSet::new();
    for query in Dashboard::named("operations.json")?.queries() {
        let expression = text(&query.target["expr"]);
        for metric in metrics_of(expression) {
            let Some(labels) = series.get(&metric) else {
                missing.insert(metric);
                continue;
            };
            for label in labels_of(expression) {
                // Prometheus itself says which process it asked.
                let is_known = label == "instance" || labels.contains(&label);
                assert!(is_known, "{}: {metric} has no {label}", query.panel);
            }
        }
    }
    let expected = NOT_PROVOKED.iter().map(|name| (*name).to_owned());
    assert_eq!(missing, expected.collect());
    Ok(())
}
