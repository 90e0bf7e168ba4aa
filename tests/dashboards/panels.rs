//! What the panels of tasks and money show, to the role that Grafana uses.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use time::{Duration, OffsetDateTime};

use super::world;
use crate::support::Database;
use crate::support::grafana::{Dashboard, TimeRange, text};

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
            ("deferred until", None),
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
