//! Ready is who can do the work; who is not says why.

use anyhow::Result;
use devart_cli::cluster::StopMode;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::api::Api;
use crate::support::cluster::{self, DATABASE};
use crate::support::queue::create;
use crate::support::wait::eventually;
use crate::support::{Database, run_sql, sqlstate};

/// Waits until the API says that it is not ready, for this reason.
async fn not_ready(api: &Api, reason: &str) {
    eventually(&format!("not ready: {reason}"), async || {
        let answer = api.anonymous.get("/readyz").await.ok()?;
        (answer.status == 503 && answer.text.contains(reason)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_that_only_reads_is_not_ready_and_a_claim_says_so() -> Result<()> {
    let db = Database::create().await?;
    let mut api = Api::start(&db).await?;
    let agent = api.agent(&db.agent(&[]).await?);
    create(&db.owner, json!({"title": "t"})).await?;
    set_read_only(&db, "on").await?;
    not_ready(&api, "read-only").await;
    for _ in 0..3 {
        let refused = agent.post("/api/tasks/claim", json!({})).await?;
        assert_eq!(refused.problem(503), "unavailable");
        assert!(refused.text.contains("only reads"), "{}", refused.text);
    }
    set_read_only(&db, "off").await?;
    api.wait_until_ready().await?;
    agent.post("/api/tasks/claim", json!({})).await?.expect(200);
    Ok(())
}

/// For sessions from now on; those of the API are ended.
async fn set_read_only(db: &Database, to: &str) -> Result<()> {
    let mut session = db.session().await?;
    let name = db.name();
    let set = format!(
        "alter role authenticator in database {name} set default_transaction_read_only = {to}"
    );
    run_sql(&mut session, set).await?;
    sqlx::raw_sql(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and usename = 'authenticator'",
    )
    .execute(&db.owner)
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_hands_out_tasks_refuses_where_nothing_can_be_written() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task = create(&db.owner, json!({"title": "t"})).await?;
    for sql in [
        format!("select * from devart.claim_next_task('{}')", agent.id),
        format!("select * from devart.claim_tasks('{}', 5)", agent.id),
        format!("select * from devart.start_task('{task}', '{}')", agent.id),
    ] {
        let mut session = db.session().await?;
        let outcome = run_sql(&mut session, format!("begin read only; {sql}")).await;
        assert_eq!(sqlstate(&outcome), "25006", "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn an_older_schema_is_not_ready_and_a_newer_one_is() -> Result<()> {
    let db = Database::create().await?;
    let mut api = Api::start(&db).await?;
    sqlx::raw_sql("insert into devart_private.migrations (name, sha256) values ('9999_x.sql', '')")
        .execute(&db.owner)
        .await?;
    assert_eq!(api.anonymous.get("/readyz").await?.status, 200);
    let newest = "select max(name) from devart_private.migrations where name < '9'";
    run_sql(
        &mut db.session().await?,
        format!(
            "create table public.kept as
             select * from devart_private.migrations where name = ({newest});
             delete from devart_private.migrations where name in (select name from public.kept)"
        ),
    )
    .await?;
    not_ready(&api, "devart migrate").await;
    sqlx::raw_sql("insert into devart_private.migrations select * from public.kept")
        .execute(&db.owner)
        .await?;
    api.wait_until_ready().await?;
    sqlx::raw_sql("drop function devart_private.readiness cascade")
        .execute(&db.owner)
        .await?;
    not_ready(&api, "devart migrate").await;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_not_ready_until_there_is_room_again() -> Result<()> {
    let db = Database::create().await?;
    let mut api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    sqlx::raw_sql(
        "create function public.full() returns trigger language plpgsql as $$
         begin raise exception 'no space left on device' using errcode = '53100'; end $$;
         create trigger full_disk before insert on devart.tasks
             for each row execute function public.full();
         create function public.full_for_tables() returns event_trigger language plpgsql as $$
         begin raise exception 'no space left on device' using errcode = '53100'; end $$;
         create event trigger full_disk on ddl_command_start when tag in ('CREATE TABLE')
             execute function public.full_for_tables()",
    )
    .execute(&db.owner)
    .await?;
    let refused = supervisor.post("/api/tasks", json!({"title": "t"})).await?;
    assert_eq!(refused.problem(503), "unavailable");
    assert!(refused.text.contains("disk"), "{}", refused.text);
    not_ready(&api, "disk").await;
    sqlx::raw_sql("drop event trigger full_disk; drop function public.full() cascade")
        .execute(&db.owner)
        .await?;
    api.wait_until_ready().await?;
    let left: i64 = sqlx::query_scalar("select count(*) from devart_private.disk_probe")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(left, 0);
    Ok(())
}

#[tokio::test]
async fn readiness_does_not_wait_for_connections_that_others_hold() -> Result<()> {
    let db = Database::create().await?;
    let settings = [
        ("DATABASE_MAX_CONNECTIONS", "1"),
        ("API_MAINTAIN_INTERVAL_MS", "0"),
    ];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    let mut lock = db.owner.begin().await?;
    sqlx::query("lock table devart.system_settings")
        .execute(&mut *lock)
        .await?;
    let viewer = api.client(db.person("viewer").await?);
    let waiting = tokio::spawn(async move { viewer.get("/api/settings").await });
    eventually("the only connection is taken", async || {
        let blocked: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database()
               and usename = 'authenticator' and wait_event_type = 'Lock')",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        blocked.then_some(())
    })
    .await;
    assert_eq!(api.anonymous.get("/readyz").await?.status, 200);
    lock.rollback().await?;
    waiting.await??.expect(200);
    Ok(())
}

/// A server that begins where its primary was stopped, and waits for what that writes next.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_on_a_standby_is_answered_by_a_sentence() -> Result<()> {
    let cluster = cluster::durable().await?;
    let mut api = Api::start_with(&cluster.authenticator_url(DATABASE), &[]).await?;
    let mut owner = PgConnection::connect(&cluster.url(DATABASE)).await?;
    create(&mut owner, json!({"title": "t"})).await?;
    let agent: Value = sqlx::query_scalar("select devart.register_agent('a')")
        .fetch_one(&mut owner)
        .await?;
    let key = agent["api_key"].as_str().expect("a key");
    let http = api.anonymous.with_key(key);
    let claim = format!(
        "select * from devart.claim_tasks('{}', 5)",
        agent["id"].as_str().expect("an id")
    );
    tokio::task::block_in_place(|| cluster.stop(StopMode::Fast))?;
    std::fs::write(cluster.data_dir().join("standby.signal"), "")?;
    tokio::task::block_in_place(|| cluster.start())?;
    not_ready(&api, "standby").await;
    let refused = http.post("/api/tasks/claim", json!({})).await?;
    assert_eq!(refused.problem(503), "unavailable");
    assert!(refused.text.contains("standby"), "{}", refused.text);
    let mut standby = PgConnection::connect(&cluster.url(DATABASE)).await?;
    let outcome = run_sql(&mut standby, claim).await;
    assert_eq!(sqlstate(&outcome), "25006");
    // What only reads is answered.
    http.get("/api/tasks").await?.expect(200);
    run_sql(&mut standby, "select pg_promote()".to_owned()).await?;
    api.wait_until_ready().await?;
    http.post("/api/tasks/claim", json!({})).await?.expect(200);
    Ok(())
}
