//! Time-driven work: nobody of less trust can stop it, and it is seen when it stands still.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::service_with;
use crate::support::queue::{claim, create, expire_lease, status};
use crate::support::wait::eventually;

/// Takes, in this session and for good, every advisory lock that anybody else holds at the moment.
const TAKE_ALL: &str = "
    select pg_try_advisory_lock((l.classid::bigint << 32) | l.objid::bigint),
           pg_try_advisory_lock(l.classid::int, l.objid::int)
    from pg_locks l where l.locktype = 'advisory' and l.pid <> pg_backend_pid()";

#[tokio::test]
async fn grafanas_reader_can_hold_no_lock_that_anything_waits_for() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let first = service_with(&db.owner, json!({"name": "first"})).await?;
    sqlx::query("select devart_private.enqueue('telegram.alert', 'key', '{}')")
        .execute(&db.owner)
        .await?;
    create(&db.owner, json!({"title": "t"})).await?;
    db.agent(&[]).await?;
    let mut reader = PgConnection::connect(&db.grafana_url()).await?;
    let names = "select pg_advisory_lock(hashtext(n)) from unnest(array['devart maintain', 'devart substitutes']) n";
    sqlx::query(names).execute(&mut reader).await?;
    let everything = [
        "select devart_private.maintain()",
        "update devart.service_registry set substitute_service_id = null",
        "insert into devart.service_registry (name, substitute_service_id) select 'second', id from devart.service_registry",
        "select devart_private.claim_outbox('telegram.alert', 10, '1 minute')",
        "select devart_private.purge_outbox(null, array(select id from devart_private.outbox))",
        "select devart.claim_tasks((select id from devart.agents), 1, '00000000-0000-4000-8000-000000000001')",
    ];
    // What each takes is taken by the reader while it is held, and then needed again.
    for sql in everything {
        let mut owner = db.session().await?;
        let mut held = owner.begin().await?;
        sqlx::query(sql).execute(&mut *held).await?;
        sqlx::query(TAKE_ALL).execute(&mut reader).await?;
        held.rollback().await?;
    }
    sqlx::query("set lock_timeout = '20s'")
        .execute(&mut reader)
        .await?;
    let mut owner = db.session().await?;
    sqlx::query("set lock_timeout = '20s'")
        .execute(&mut owner)
        .await?;
    for sql in everything {
        sqlx::query(sql).execute(&mut owner).await?;
    }
    assert_eq!(
        db.maintain().await?["busy"],
        Value::Null,
        "maintain() works"
    );
    let second: i64 = sqlx::query_scalar(
        "select count(*) from devart.service_registry where substitute_service_id = $1",
    )
    .bind(first)
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(second, 1);
    Ok(())
}

#[tokio::test]
async fn an_advisory_lock_of_sql_decides_nothing() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut users = Vec::new();
    let directories = [
        "sql/idempotent",
        "sql/incremental",
        "pg_devart/src",
        "pg_devart/src/money",
        "pg_devart/src/tasks",
    ];
    for directory in directories {
        let files = std::fs::read_dir(format!("{root}/{directory}")).expect("a directory");
        for file in files.map(|file| file.expect("an entry").path()) {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if text.contains("pg_advisory") || text.contains("pg_try_advisory") {
                users.push(file);
            }
        }
    }
    assert!(
        users.is_empty(),
        "everybody can hold what these take: {users:?}"
    );
}

#[tokio::test]
async fn work_that_stands_still_is_seen_by_readiness_and_by_a_metric() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let mut owner = db.session().await?;
    let mut stuck = owner.begin().await?;
    // Somebody else is at it, for ever; and it was last done an hour ago.
    eventually("the lock is ours", async || {
        let query = "select devart_private.try_lock(hashtext('devart maintain'))";
        let taken: bool = sqlx::query_scalar(query)
            .fetch_one(&mut *stuck)
            .await
            .expect("a lock");
        taken.then_some(())
    })
    .await;
    sqlx::query("update devart_private.maintenance set succeeded_at = now() - interval '1 hour'")
        .execute(&db.owner)
        .await?;
    let answer = eventually("the API says that it is not ready", async || {
        let answer = api.anonymous.get("/readyz").await.expect("an answer");
        (answer.status == 503).then_some(answer)
    })
    .await;
    let detail = answer.body["detail"].as_str().expect("a reason");
    assert!(detail.contains("time-driven work"), "{detail}");
    assert!(api.metric("devart_maintenance_age_seconds").await? > 3_000.0);
    let busy: Value = db.maintain().await?;
    assert_eq!(busy["busy"], true);
    stuck.rollback().await?;
    eventually("the API is ready again", async || {
        let answer = api.anonymous.get("/readyz").await.expect("an answer");
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(api.metric("devart_maintenance_age_seconds").await? < 60.0);
    Ok(())
}

#[tokio::test]
async fn one_step_that_fails_holds_up_no_other() -> Result<()> {
    let db = Database::create().await?;
    let task = create(&db.owner, json!({"title": "t"})).await?;
    let agent = db.agent(&[]).await?;
    claim(&db.owner, agent.id).await?;
    expire_lease(&db.owner, task).await?;
    sqlx::raw_sql(
        "create or replace function devart_private.promote_due_tasks(p_limit int) returns int
             language plpgsql as $$ begin raise exception 'a bad row' using errcode = '22003'; end $$;
         update devart_private.maintenance set succeeded_at = now() - interval '1 hour'",
    )
    .execute(&db.owner)
    .await?;
    let done = db.maintain().await?;
    assert_eq!(done["failed"], json!({"promoted": "22003"}));
    assert_eq!(
        (&done["rescued"], status(&db.owner, task).await?.as_str()),
        (&json!(1), "TODO")
    );
    assert!(
        done["seconds_since_success"]
            .as_f64()
            .is_some_and(|age| age > 3_000.0),
        "{done}"
    );
    Ok(())
}
