//! Migrating, and taking a database elsewhere.

use std::path::Path;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::migrate::{self, Report, migrate};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::runtime::Runtime;

use crate::support::budget;
use crate::support::cluster::directory;
use crate::support::queue::{claim, complete, create, fail};
use crate::support::wait::{ends_within, eventually};
use crate::support::{Database, refusal, run_sql, snapshot, sqlstate};

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
    assert_eq!(second.idempotent, 0, "nothing has changed");
    assert_eq!(migrate::outstanding(&db.url()).await?, 0);
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
async fn only_what_changed_is_run_again_and_what_treats_all() -> Result<()> {
    let db = Database::create().await?;
    sqlx::query("update devart_private.idempotent_files set sha256 = '' where name like '155%'")
        .execute(&db.owner)
        .await?;
    assert_eq!(migrate::outstanding(&db.url()).await?, 1);
    let report = migrate(&db.url()).await?;
    assert_eq!(
        report.idempotent, 4,
        "the file, grants, limits of roles and owners"
    );
    assert_eq!(migrate(&db.url()).await?.idempotent, 0);
    Ok(())
}

/// What is changed by hand asks for all files again: triggers and policies want whole tables.
async fn change_by_hand(db: &Database) -> Result<()> {
    sqlx::raw_sql("drop policy tasks_read on devart.tasks")
        .execute(&db.owner)
        .await?;
    Ok(())
}

/// On a thread of its own.
fn start_migrating(db: &Database) -> JoinHandle<Result<Report>> {
    let url = db.url();
    std::thread::spawn(move || Runtime::new()?.block_on(migrate(&url)))
}

/// Waits until migrate waits for a lock; gives the tables that it has for itself meanwhile.
async fn wait_until_it_waits(db: &Database) -> Vec<String> {
    eventually("migrate waits for a table", async || {
        let locks: Vec<(String, bool)> = sqlx::query_as(
            "select l.relation::regclass::text, l.granted
             from pg_locks l join pg_stat_activity a using (pid)
             where a.application_name = 'devart migrate' and a.datname = current_database()
               and l.locktype = 'relation' and l.mode in ('AccessExclusiveLock', 'ShareRowExclusiveLock')
               and l.relation in (
                   select oid from pg_class where relnamespace = 'devart'::regnamespace)",
        )
        .fetch_all(&db.owner)
        .await
        .ok()?;
        let is_waiting = locks.iter().any(|(_, granted)| !granted);
        let held = locks.into_iter().filter(|(_, granted)| *granted);
        is_waiting.then(|| held.map(|(table, _)| table).collect())
    })
    .await
}

#[tokio::test]
async fn requests_go_on_while_migrate_waits_behind_a_reader() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["rust"]).await?;
    change_by_hand(&db).await?;
    let mut reader = db.session().await?;
    sqlx::raw_sql("begin; select from devart.tasks; select from devart.agents")
        .execute(&mut reader)
        .await?;
    let migrating = start_migrating(&db);
    for number in 0..5 {
        wait_until_it_waits(&db).await;
        let title = format!("task {number}");
        let request = async {
            let task = json!({"title": title, "required_capabilities": ["rust"]});
            create(&db.owner, task).await?;
            let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
            complete(&db.owner, &claimed).await?;
            anyhow::Ok(())
        };
        ends_within(Duration::from_secs(20), "the request is answered", request).await?;
    }
    assert!(!migrating.is_finished(), "the reader is still there");
    sqlx::raw_sql("commit").execute(&mut reader).await?;
    let report = migrating.join().expect("it does not panic")?;
    assert!(report.idempotent > 10, "{report:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_loses_a_deadlock_with_migrate() -> Result<()> {
    let db = Database::create().await?;
    change_by_hand(&db).await?;
    let mut reader = db.session().await?;
    // The last table whose policies are made anew; those before it are locked by then.
    sqlx::raw_sql("begin; select from devart.tasks")
        .execute(&mut reader)
        .await?;
    let migrating = start_migrating(&db);
    let held = wait_until_it_waits(&db).await;
    for table in held {
        let lock = format!("lock table {table} in row exclusive mode");
        run_sql(&mut reader, lock).await?;
    }
    sqlx::raw_sql("commit").execute(&mut reader).await?;
    migrating.join().expect("it does not panic")?;
    Ok(())
}

#[tokio::test]
async fn no_role_of_less_trust_can_hold_up_migrate() -> Result<()> {
    let db = Database::create().await?;
    let mut grafana = PgConnection::connect(&db.grafana_url()).await?;
    let key: i64 = 0x6465_7661_7274;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(key)
        .execute(&mut grafana)
        .await?;
    let url = db.url();
    ends_within(Duration::from_secs(60), "it ends", migrate(&url)).await?;
    // Its sessions only read, until somebody says otherwise.
    let writes = "set default_transaction_read_only = off".to_owned();
    run_sql(&mut grafana, writes).await?;
    let attempts = [
        "create type devart_private.migrate_turn as enum ()",
        "do $$ begin lock table devart_private.migrations in access share mode; end $$",
    ];
    // Its sessions only read, unless they say otherwise.
    run_sql(
        &mut grafana,
        "set default_transaction_read_only = off".to_owned(),
    )
    .await?;
    for attempt in attempts {
        let outcome = run_sql(&mut grafana, attempt.to_owned()).await;
        assert_eq!(sqlstate(&outcome), "42501", "{attempt}");
    }
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
