//! A database of the version before, with rows in it, becomes one of this version.
//!
//! `0.1.0.sql.gz` is what that version's `devart schema` printed. Tests that a fresh database is
//! right say nothing of what an old one keeps: a function under an old signature would still be
//! there, and a way around every rule that its successor got.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use devart_cli::migrate::migrate;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::queue::claim;
use crate::support::{Database, snapshot};

/// Rows that 0.1.0 took; some of them are refused now.
const ROWS: &str = include_str!("rows.sql");

#[tokio::test]
async fn an_upgraded_database_is_like_a_fresh_one_and_keeps_its_rows() -> Result<()> {
    let db = Database::empty().await?;
    let mut session = db.session().await?;
    install(&mut session, "0.1.0").await?;
    sqlx::raw_sql(ROWS).execute(&mut session).await?;
    migrate(&db.url()).await?;

    let fresh = snapshot::catalog(&Database::create().await?.owner).await?;
    let upgraded = snapshot::catalog(&db.owner).await?;
    let differences: Vec<&String> = fresh
        .iter()
        .filter(|line| !upgraded.contains(line))
        .chain(upgraded.iter().filter(|line| !fresh.contains(line)))
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");

    let tasks: i64 = sqlx::query_scalar("select count(*) from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(tasks, 8);
    let agent = db.agent(&[]).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task to do")?;
    assert_eq!(title(&db, claimed.task_id).await?, "waits");
    assert_eq!(status(&db, "too deep").await?, "FAILED");
    assert_eq!(status(&db, "depends").await?, "BLOCKED");
    Ok(())
}

#[tokio::test]
async fn rows_that_no_version_takes_any_more_end_or_can_be_changed() -> Result<()> {
    let db = Database::empty().await?;
    let mut session = db.session().await?;
    install(&mut session, "0.1.0").await?;
    sqlx::raw_sql(ROWS).execute(&mut session).await?;
    migrate(&db.url()).await?;

    assert_eq!(status(&db, "no number").await?, "FAILED");
    let told: Vec<String> = sqlx::query_scalar(
        "select e.detail ->> 'error' from devart.task_events e
         join devart.tasks t on t.id = e.task_id where t.title = 'no number'",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(told, ["estimated_cost_usd was no number"]);

    let done = db.maintain().await?;
    assert_eq!(done.get("failed"), None, "{done}");
    for (title, expected) in [
        ("endless", "FAILED"),
        ("nobodys", "TODO"),
        ("stuck", "TODO"),
    ] {
        assert_eq!(status(&db, title).await?, expected, "{title}");
    }
    // Each of these rows can be changed.
    for (change, rows) in [
        (
            "update devart_private.agent_api_keys set revoked_at = now()",
            2,
        ),
        ("update devart.approvals set last_vote_at = now()", 1),
        ("update devart.tasks set title = title || '.'", 8),
    ] {
        let changed = sqlx::query(change).execute(&db.owner).await?;
        assert_eq!(changed.rows_affected(), rows, "{change}");
    }
    let never_ends: Vec<bool> = sqlx::query_scalar(
        "select expires_at is null from devart_private.agent_api_keys order by key_id",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(never_ends, [true, false]);
    let prices: Vec<(String, String)> = sqlx::query_as(
        "select unit, (effective_from at time zone 'UTC')::date::text from devart.service_prices",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(prices, [("token".to_owned(), "1970-01-01".to_owned())]);
    Ok(())
}

async fn install(session: &mut PgConnection, version: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("upgrade/{version}.sql.gz"));
    let unpacked = Command::new("gzip").arg("-dc").arg(&file).output()?;
    ensure!(unpacked.status.success(), "unpacking {}", file.display());
    let script = String::from_utf8(unpacked.stdout)?;
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(session)
        .await?;
    Ok(())
}

async fn title(db: &Database, task_id: uuid::Uuid) -> sqlx::Result<String> {
    sqlx::query_scalar("select title from devart.tasks where id = $1")
        .bind(task_id)
        .fetch_one(&db.owner)
        .await
}

async fn status(db: &Database, title: &str) -> sqlx::Result<String> {
    sqlx::query_scalar("select status::text from devart.tasks where title = $1")
        .bind(title)
        .fetch_one(&db.owner)
        .await
}
