//! Time-driven work: nobody of less trust can stop it, and it is seen when it stands still.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::{
    audit, claim_funded, costly_task, expire, hold_of, reserve, service, service_with, standing,
    usd,
};
use crate::support::queue::{claim, claim_batch, create, expire_lease, status, task};
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

#[tokio::test]
async fn a_blocked_task_that_waits_for_nothing_goes_after_a_minute() -> Result<()> {
    let db = Database::create().await?;
    let insert = "insert into devart.tasks (title, status) values ('t', 'BLOCKED') returning id";
    let id = sqlx::query_scalar(insert).fetch_one(&db.owner).await?;
    db.maintain().await?;
    assert_eq!(
        status(&db.owner, id).await?,
        "BLOCKED",
        "whoever made it is not done"
    );
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let waits = create(&db.owner, json!({"title": "waits", "depends_on": [first]})).await?;
    sqlx::query("update devart.tasks set ready_at = ready_at - interval '1 minute'")
        .execute(&db.owner)
        .await?;
    assert_eq!(db.maintain().await?["unblocked"], 1);
    assert_eq!(status(&db.owner, id).await?, "TODO");
    assert_eq!(status(&db.owner, waits).await?, "BLOCKED");
    Ok(())
}

/// Lets everything be due for the steps that work on many tasks.
const DUE: &str = "
    update devart.tasks set run_at = now() - interval '1 second' where status = 'SCHEDULED';
    update devart.tasks set lease_expires_at = now() - interval '1 second'
    where status = 'IN_PROGRESS' and timeout_seconds is null;
    update devart.tasks set claimed_at = now() - interval '1 hour'
    where status = 'IN_PROGRESS' and timeout_seconds is not null;
    update devart.tasks set ready_at = now() - interval '1 hour' where status = 'BLOCKED';
    update devart.approvals set expires_at = now();";

#[tokio::test]
async fn one_bad_row_is_put_off_with_its_reason_and_holds_up_no_other() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for title in ["bad", "good"] {
        create(&db.owner, json!({"title": title})).await?;
        create(&db.owner, json!({"title": title, "timeout_seconds": 60})).await?;
    }
    assert_eq!(claim_batch(&db.owner, agent.id, 4).await?.len(), 4);
    for title in ["bad", "good"] {
        let later = json!({"title": title, "run_at": "2999-01-01T00:00:00Z"});
        create(&db.owner, later).await?;
        create(&db.owner, json!({"title": title, "needs_approval": true})).await?;
        sqlx::query("insert into devart.tasks (title, status) values ($1, 'BLOCKED')")
            .bind(title)
            .execute(&db.owner)
            .await?;
    }
    // Not by an update of status, lest they go at once.
    let due = format!("set session_replication_role = replica; {DUE}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(due))
        .execute(&mut db.session().await?)
        .await?;
    sqlx::raw_sql(
        "create function public.bad() returns trigger language plpgsql as $$
             begin raise exception 'a bad row' using errcode = '22003'; end $$;
         create trigger bad before update on devart.tasks
             for each row when (new.title = 'bad') execute function public.bad()",
    )
    .execute(&db.owner)
    .await?;
    let done = db.maintain().await?;
    assert_eq!(done["failed"], Value::Null, "{done}");
    assert_eq!(done["put_off"], 5, "{done}");
    for step in [
        "promoted",
        "rescued",
        "timed_out",
        "unblocked",
        "approvals_expired",
    ] {
        assert_eq!(done[step], 1, "{step}: {done}");
    }
    let reasons: Vec<(String, String)> =
        sqlx::query_as("select distinct sqlstate, reason from devart_private.put_off_rows")
            .fetch_all(&db.owner)
            .await?;
    assert_eq!(reasons, [("22003".to_owned(), "a bad row".to_owned())]);

    // Left alone for a while; and done as soon as it can be.
    sqlx::raw_sql("drop trigger bad on devart.tasks")
        .execute(&db.owner)
        .await?;
    assert_eq!(db.maintain().await?["promoted"], 0);
    sqlx::query("update devart_private.put_off_rows set retry_at = now()")
        .execute(&db.owner)
        .await?;
    let done = db.maintain().await?;
    assert_eq!(
        (&done["promoted"], &done["put_off"]),
        (&json!(1), &Value::Null),
        "{done}"
    );
    Ok(())
}

#[tokio::test]
async fn a_bad_hold_and_a_bad_agent_are_put_off_for_themselves() -> Result<()> {
    let db = Database::create().await?;
    let id = service_with(&db.owner, json!({"name": "model"})).await?;
    let holds = [
        hold_of(&reserve(&db.owner, id, "13").await?),
        hold_of(&reserve(&db.owner, id, "2").await?),
    ];
    for hold_id in holds {
        expire(&db.owner, hold_id).await?;
    }
    let bad = db.agent(&[]).await?;
    db.agent(&[]).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "update devart.agents set status = 'IDLE', last_heartbeat_at = now() - interval '1 day';
         create function public.bad() returns trigger language plpgsql as $$
             begin raise exception 'a bad row' using errcode = '22003'; end $$;
         create trigger bad before update on devart.holds
             for each row when (new.amount_usd = 13) execute function public.bad();
         create trigger bad before update on devart.agents
             for each row when (new.id = '{}') execute function public.bad()",
        bad.id
    )))
    .execute(&db.owner)
    .await?;
    let done = db.maintain().await?;
    assert_eq!(done["failed"], Value::Null, "{done}");
    for step in ["holds_expired", "agents_refreshed"] {
        assert_eq!(done[step], 1, "{step}: {done}");
    }
    assert_eq!(done["put_off"], 2, "{done}");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_bad_hold_that_is_kept_or_ended_is_put_off_for_itself() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "100").await?;
    let (worker, gone) = (db.agent(&[]).await?, db.agent(&[]).await?);
    for estimate in ["13", "2"] {
        costly_task(&db.owner, estimate, id, estimate).await?;
    }
    assert_eq!(claim_funded(&db.owner, worker.id, 2).await?.len(), 2);
    let orphans = [
        hold_of(&reserve(&db.owner, id, "13").await?),
        hold_of(&reserve(&db.owner, id, "2").await?),
    ];
    sqlx::query("select devart.set_agent_activation($1, false)")
        .bind(gone.id)
        .execute(&db.owner)
        .await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "update devart.holds set expires_at = clock_timestamp() - interval '1 s'
         where agent_id = '{worker}';
         update devart.holds set agent_id = '{gone}', expires_at = now() + interval '30 days'
         where id in ('{}', '{}');
         create function public.bad() returns trigger language plpgsql as $$
             begin raise exception 'a bad row' using errcode = '22003'; end $$;
         create trigger bad before update on devart.holds
             for each row when (new.amount_usd = 13) execute function public.bad()",
        orphans[0],
        orphans[1],
        gone = gone.id,
        worker = worker.id,
    )))
    .execute(&db.owner)
    .await?;
    let done = db.maintain().await?;
    assert_eq!(done["failed"], Value::Null, "{done}");
    assert_eq!(
        (&done["holds_ended"], &done["put_off"]),
        (&json!(1), &json!(2)),
        "{done}"
    );
    // Needs what is held, and looks for what is due.
    assert_eq!(reserve(&db.owner, id, "99").await?["admitted"], false);
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("28"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_task_whose_time_never_comes_has_failed_and_says_why() -> Result<()> {
    let db = Database::create().await?;
    let later = json!({"title": "t", "run_at": "2999-01-01T00:00:00Z"});
    let (endless, later) = (
        create(&db.owner, later.clone()).await?,
        create(&db.owner, later).await?,
    );
    // As it was before there was a rule.
    let mut session = db.session().await?;
    sqlx::query("set session_replication_role = replica")
        .execute(&mut session)
        .await?;
    sqlx::query("update devart.tasks set run_at = 'infinity' where id = $1")
        .bind(endless)
        .execute(&mut session)
        .await?;
    assert_eq!(db.maintain().await?["set_aside"], 1);
    let aside = task(&db.owner, endless).await?;
    assert_eq!(aside.status, "FAILED");
    assert!(
        aside
            .last_error
            .is_some_and(|why| why.starts_with("run_at must be"))
    );
    assert_eq!(status(&db.owner, later).await?, "SCHEDULED");
    sqlx::query("select devart.retry_task($1)")
        .bind(endless)
        .execute(&db.owner)
        .await?;
    assert_eq!(status(&db.owner, endless).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn whether_the_disk_has_room_is_told_beside_a_dump() -> Result<()> {
    let db = Database::create().await?;
    let mut dump = db.session().await?;
    let mut dumping = dump.begin().await?;
    sqlx::query("lock table devart_private.disk_probe in access share mode")
        .execute(&mut *dumping)
        .await?;
    let mut session = db.session().await?;
    sqlx::query("set lock_timeout = '20s'")
        .execute(&mut session)
        .await?;
    for _ in 0..2 {
        let can_grow: bool = sqlx::query_scalar("select devart_private.can_grow()")
            .fetch_one(&mut session)
            .await?;
        assert!(can_grow);
    }
    Ok(())
}
