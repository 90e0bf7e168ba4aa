//! Migrating, and taking a database elsewhere.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::migrate::{self, migrate};
use serde_json::json;
use sqlx::PgPool;

use crate::support::budget;
use crate::support::cluster::directory;
use crate::support::queue::{claim, complete, create, fail};
use crate::support::{Database, refusal, snapshot};

#[tokio::test]
async fn migrating_twice_changes_nothing() -> Result<()> {
    let db = Database::empty().await?;
    let first = migrate(&db.url()).await?;
    assert!(!first.applied.is_empty());
    let (catalog, rows) = (
        snapshot::catalog(&db.owner).await?,
        snapshot::rows(&db.owner).await?,
    );
    let second = migrate(&db.url()).await?;
    assert!(second.applied.is_empty(), "{:?}", second.applied);
    assert_eq!(snapshot::catalog(&db.owner).await?, catalog);
    assert_eq!(snapshot::rows(&db.owner).await?, rows);
    Ok(())
}

#[tokio::test]
async fn two_migrates_at_once_are_as_good_as_one() -> Result<()> {
    let db = Database::empty().await?;
    let url = db.url();
    let (one, two) = tokio::join!(migrate(&url), migrate(&url));
    let applied = (one?.applied.len(), two?.applied.len());
    assert!(
        applied.0 == 0 || applied.1 == 0,
        "one found everything done: {applied:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_released_file_that_was_changed_is_refused_by_name() -> Result<()> {
    let db = Database::create().await?;
    sqlx::query(
        "update devart_private.migrations set sha256 = repeat('0', 64) where name like '0007%'",
    )
    .execute(&db.owner)
    .await?;
    let catalog = snapshot::catalog(&db.owner).await?;
    let error = migrate(&db.url())
        .await
        .expect_err("the file is another one than was applied");
    assert!(format!("{error:#}").contains("0007_tasks.sql"), "{error:#}");
    assert_eq!(snapshot::catalog(&db.owner).await?, catalog);
    Ok(())
}

#[tokio::test]
async fn a_dump_restores_into_a_fresh_cluster_row_by_row() -> Result<()> {
    let db = Database::create().await?;
    populate(&db).await?;
    let target = Cluster::temporary(ClusterOptions::for_tests())?;
    let dump = directory(db.cluster()).join(format!("{}.dump", db.name()));
    run(
        db.cluster(),
        "pg_dumpall",
        &[
            "--roles-only",
            "--no-role-passwords",
            "-d",
            &db.url(),
            "-f",
            &format!("{}.roles", dump.display()),
        ],
    )?;
    run(
        db.cluster(),
        "pg_dump",
        &["-Fc", "-d", &db.url(), "-f", &dump.display().to_string()],
    )?;
    target.create_database("restored")?;
    let url = target.url("restored");
    // The bootstrap superuser exists already, which psql reports and passes over.
    let roles = format!("{}.roles", dump.display());
    run(&target, "psql", &["-q", "-d", &url, "-f", &roles])?;
    run(
        &target,
        "pg_restore",
        &["--exit-on-error", "-d", &url, &dump.display().to_string()],
    )?;

    let restored = PgPool::connect(&url).await?;
    assert_eq!(
        snapshot::rows(&restored).await?,
        snapshot::rows(&db.owner).await?
    );
    migrate(&url).await?;
    assert_eq!(
        snapshot::catalog(&restored).await?,
        snapshot::catalog(&db.owner).await?
    );
    let agent = sqlx::query_scalar("select id from devart.agents limit 1")
        .fetch_one(&restored)
        .await?;
    let claimed = claim(&restored, agent)
        .await?
        .context("work goes on there")?;
    complete(&restored, &claimed).await?;
    budget::audit(&restored).await;
    Ok(())
}

/// Something in every table that a person or an agent can fill.
async fn populate(db: &Database) -> Result<()> {
    let agent = db.agent(&["rust"]).await?;
    db.person("admin").await?;
    let parent = create(
        &db.owner,
        json!({"title": "parent", "payload": {"text": "ü\u{1F600}"}}),
    )
    .await?;
    create(
        &db.owner,
        json!({"title": "child", "parent_task_id": parent, "depends_on": [parent]}),
    )
    .await?;
    create(
        &db.owner,
        json!({"title": "approve me", "needs_approval": true}),
    )
    .await?;
    for title in ["fails", "succeeds", "waits"] {
        create(
            &db.owner,
            json!({"title": title, "priority": "HIGH", "required_capabilities": ["rust"]}),
        )
        .await?;
    }
    let failing = claim(&db.owner, agent.id).await?.context("a task")?;
    fail(&db.owner, &failing, true).await?;
    let succeeding = claim(&db.owner, agent.id).await?.context("a task")?;
    complete(&db.owner, &succeeding).await?;
    sqlx::raw_sql(
        "insert into devart.service_registry (name, budget_usd) values ('model', 10);
         select devart.charge_service((select id from devart.service_registry), 1.5, idempotency_key => 'k');
         select devart_private.receive_github_delivery('d', 'ping', '{}');
         select devart_private.begin_idempotent('p', 'k', '\\x00');
         select devart.set_setting('outbox_topics', '[\"telegram.alert\"]');
         select devart_private.enqueue('telegram.alert', null, '{}')",
    )
    .execute(&db.owner)
    .await?;
    Ok(())
}

#[test]
fn the_schema_for_supabase_is_that_of_sql() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supabase/schema.sql");
    let is_current = std::fs::read_to_string(file)? == migrate::script()?;
    assert!(is_current, "run: devart schema > supabase/schema.sql");
    Ok(())
}

fn run(cluster: &Cluster, program: &str, arguments: &[&str]) -> Result<()> {
    let output = cluster
        .program(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn values_out_of_bounds_are_refused_by_name() -> Result<()> {
    let db = Database::create().await?;
    for (arguments, name) in [
        (json!({"title": ""}), "tasks_title_check"),
        (json!({"title": "x".repeat(501)}), "tasks_title_check"),
        (
            json!({"title": "t", "max_retries": 101}),
            "tasks_max_retries_check",
        ),
        (
            json!({"title": "t", "payload": {"p": "x".repeat(262_144)}}),
            "payload",
        ),
    ] {
        let text = refusal(create(&db.owner, arguments).await);
        assert!(text.contains(name), "{text}");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(kept, 0, "nothing was written");
    Ok(())
}

#[tokio::test]
async fn what_was_changed_by_hand_is_mended_by_the_next_migrate() -> Result<()> {
    let db = Database::create().await?;
    let right = snapshot::catalog(&db.owner).await?;
    sqlx::raw_sql(
        "drop function devart.cancel_task(uuid, text);
         drop policy tasks_read on devart.tasks;
         grant select on devart_private.agent_api_keys to anon;
         grant execute on function devart.register_agent to public;
         alter function devart.uuid_v7() owner to devart;",
    )
    .execute(&db.owner)
    .await?;
    migrate(&db.url()).await?;
    let mended = snapshot::catalog(&db.owner).await?;
    let missing: Vec<&String> = right.iter().filter(|line| !mended.contains(line)).collect();
    let extra: Vec<&String> = mended.iter().filter(|line| !right.contains(line)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:#?}, extra {extra:#?}"
    );
    Ok(())
}
