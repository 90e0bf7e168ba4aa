//! A service that is put off until its provider serves again (sql/idempotent/344_money_deferrals.sql).

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::PgExecutor;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{
    audit, charge, claim_funded, costly_task, hold_of, release, reserve, reserve_with, service,
    service_with, settle,
};
use crate::support::queue::{claim, complete, create, start, status};
use crate::support::{Database, sqlstate};

/// `defer_service` so many seconds from now; gives until when the service is put off.
async fn defer(
    executor: impl PgExecutor<'_>,
    service_id: Uuid,
    seconds: f64,
) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar(
        "select d.deferred_until from devart.defer_service(
             $1, clock_timestamp() + make_interval(secs => $2), 'too many requests') d",
    )
    .bind(service_id)
    .bind(seconds)
    .fetch_one(executor)
    .await
}

/// A task of the service without an estimate.
async fn plain_task(db: &Database, service_id: Uuid) -> Result<Uuid> {
    Ok(create(&db.owner, json!({"title": "t", "service_id": service_id})).await?)
}

/// Lets the time of a deferral be over, for the service and its tasks.
async fn end(db: &Database, service_id: Uuid) -> Result<()> {
    for sql in [
        "update devart.service_registry set deferred_until = now() where id = $1",
        "update devart.tasks set run_at = now() where service_id = $1 and status = 'SCHEDULED'",
    ] {
        sqlx::query(sql).bind(service_id).execute(&db.owner).await?;
    }
    db.maintain().await?;
    Ok(())
}

#[tokio::test]
async fn until_then_nothing_is_handed_out_or_set_aside_and_then_everything_goes_on() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let waiting = [
        plain_task(&db, id).await?,
        costly_task(&db.owner, "costly", id, "1").await?,
    ];
    let until = defer(&db.owner, id, 3600.0).await?.context("a moment")?;
    let new = plain_task(&db, id).await?;
    let other = create(&db.owner, json!({"title": "other"})).await?;
    for task in [waiting[0], waiting[1], new] {
        assert_eq!(status(&db.owner, task).await?, "SCHEDULED");
        assert!(start(&db.owner, task, agent.id).await?.is_none());
    }
    let claimed = claim_funded(&db.owner, agent.id, 10).await?;
    assert_eq!((claimed.len(), claimed[0].task_id), (1, other));

    let refused = reserve(&db.owner, id, "1").await?;
    assert_eq!(
        (&refused["admitted"], &refused["code"]),
        (&json!(false), &json!("service_deferred"))
    );
    let told: String = serde_json::from_value(refused["deferred_until"].clone())?;
    let told: OffsetDateTime = sqlx::query_scalar("select $1::timestamptz")
        .bind(told)
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(told, until);

    end(&db, id).await?;
    assert_eq!(claim_funded(&db.owner, agent.id, 10).await?.len(), 3);
    assert_eq!(reserve(&db.owner, id, "1").await?["admitted"], true);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_is_under_way_settles_and_what_was_spent_is_charged() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    defer(&db.owner, id, 60.0).await?;
    settle(&db.owner, hold, "0.5").await?;
    let charged = charge(&db.owner, id, "1", None).await?;
    assert_eq!(charged["success"], true, "{charged}");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_claim_takes_out_of_its_queue_what_came_in_meanwhile() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    // As a transaction does that began before the deferral and ends after it.
    let mut late = db.session().await?;
    sqlx::raw_sql("begin").execute(&mut late).await?;
    for estimate in [None, Some(rust_decimal::Decimal::ONE)] {
        sqlx::query(
            "insert into devart.tasks (title, service_id, estimated_cost_usd)
             values ('late', $1, $2)",
        )
        .bind(id)
        .bind(estimate)
        .execute(&mut late)
        .await?;
    }
    defer(&db.owner, id, 3600.0).await?;
    sqlx::raw_sql("commit").execute(&mut late).await?;
    let count = |status: &'static str| {
        sqlx::query_scalar::<_, i64>(
            "select count(*) from devart.tasks where status = $1::devart.task_status",
        )
        .bind(status)
        .fetch_one(&db.owner)
    };
    assert_eq!(count("TODO").await?, 2);
    assert!(claim(&db.owner, agent.id).await?.is_none());
    assert_eq!(count("SCHEDULED").await?, 2);
    let asked: i64 = sqlx::query_scalar("select count(*) from devart.approvals")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(asked, 0, "there is nothing to ask people");
    Ok(())
}

#[tokio::test]
async fn maintenance_takes_out_of_their_queues_what_no_claim_looks_at() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    sqlx::query(
        "insert into devart.tasks (title, service_id) select 't', $1 from generate_series(1, 300)",
    )
    .bind(id)
    .execute(&db.owner)
    .await?;
    defer(&db.owner, id, 3600.0).await?;
    assert_eq!(db.maintain().await?["deferred"], 200);
    assert_eq!(db.maintain().await?["deferred"], 0);
    // Longer, and then over at once: also those that were put off for less.
    defer(&db.owner, id, 7200.0).await?;
    assert_eq!(defer(&db.owner, id, -1.0).await?, None);
    assert_eq!(db.maintain().await?["deferrals_ended"], 200);
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from devart.tasks where status = 'TODO'")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(waiting, 300);
    Ok(())
}

#[tokio::test]
async fn a_substitute_that_serves_stands_in_and_otherwise_the_first_to_serve_again_counts()
-> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let second = service(&db.owner, "second", "10").await?;
    let first = service_with(
        &db.owner,
        json!({"name": "first", "budget_usd": 10, "substitute_service_id": second}),
    )
    .await?;
    costly_task(&db.owner, "t", first, "1").await?;
    defer(&db.owner, first, 3600.0).await?;
    let delegated = reserve(&db.owner, first, "1").await?;
    assert_eq!(
        (&delegated["admitted"], &delegated["code"]),
        (&json!(true), &json!("service_deferred"))
    );
    assert_eq!(delegated["service_id"], json!(second));
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 1);

    let waits = costly_task(&db.owner, "u", first, "1").await?;
    let until = defer(&db.owner, second, 60.0).await?;
    assert!(claim(&db.owner, agent.id).await?.is_none());
    let run_at: Option<OffsetDateTime> =
        sqlx::query_scalar("select run_at from devart.tasks where id = $1")
            .bind(waits)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(run_at, until);
    // The substitute is back before its time.
    defer(&db.owner, second, 0.0).await?;
    db.maintain().await?;
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 1);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_agent_puts_off_only_what_it_works_with_and_only_for_longer() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let mut session = db.session_as(agent.caller()).await?;
    assert_eq!(sqlstate(&defer(&mut session, id, 60.0).await), "42501");
    reserve(&mut session, id, "1").await?;
    let first = defer(&mut session, id, 600.0).await?;
    assert!(first.is_some());
    for sooner in [0.0, -5.0, 60.0] {
        assert_eq!(defer(&mut session, id, sooner).await?, first, "{sooner}");
    }
    assert!(defer(&mut session, id, 700.0).await? > first);

    let supervisor = db.person("supervisor").await?;
    let mut session = db.session_as(supervisor).await?;
    assert!(defer(&mut session, id, 60.0).await? < first);
    assert_eq!(defer(&mut session, id, 0.0).await?, None);
    let audited: i64 = sqlx::query_scalar(
        "select count(*) from devart.audit_log
         where table_name = 'service_registry' and action = 'update'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(audited, 4);
    Ok(())
}

#[tokio::test]
async fn an_agent_whose_hold_is_given_back_still_works_with_the_service_until_its_task_ends()
-> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let task = create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    let mut session = db.session_as(agent.caller()).await?;
    let request = json!({"estimate_usd": 1, "task_id": task});
    let hold = hold_of(&reserve_with(&mut session, id, request).await?);
    assert!(release(&mut session, hold).await?);
    assert!(defer(&mut session, id, 60.0).await?.is_some());
    complete(&mut session, &claimed).await?;
    assert_eq!(sqlstate(&defer(&mut session, id, 600.0).await), "42501");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_deferral_has_a_longest_time_and_a_sensible_moment() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    db.set("max_defer_seconds", json!(100)).await?;
    let until = defer(&db.owner, id, 1e6).await?.context("a moment")?;
    let now: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&db.owner)
        .await?;
    assert!(until <= now + Duration::seconds(100));
    for until in [
        "infinity",
        "-infinity",
        "1969-12-31",
        "9999-12-31",
        "4000-01-01 BC",
    ] {
        let refused = sqlx::query("select devart.defer_service($1, $2::text::timestamptz)")
            .bind(id)
            .bind(until)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&refused), "22023", "{until}");
    }
    let missing = sqlx::query("select devart.defer_service($1, null)")
        .bind(id)
        .execute(&db.owner)
        .await;
    assert_eq!(sqlstate(&missing), "22023");
    let unknown = defer(&db.owner, Uuid::now_v7(), 1.0).await;
    assert_eq!(sqlstate(&unknown), "P0002");
    Ok(())
}

#[tokio::test]
async fn the_api_puts_off_and_shows_it_wherever_a_service_is() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "10").await?;
    let task = costly_task(&db.owner, "t", id, "1").await?;
    let claimed = claim_funded(&db.owner, agent.id, 1).await?;
    let client = api.client(agent.caller());
    let path = format!("/api/services/{id}/defer");
    let body = json!({"seconds": 90.5, "reason": "429 from the provider"});
    let deferred = client.post(&path, body).await?.expect(200);
    assert_eq!(deferred["deferred_reason"], "429 from the provider");
    for list in ["/api/services", "/api/services/status"] {
        let shown: Value = client.get(list).await?.expect(200)["items"][0].clone();
        assert_eq!(
            shown["deferred_until"], deferred["deferred_until"],
            "{list}"
        );
        assert_eq!(shown["deferred_reason"], "429 from the provider", "{list}");
    }
    let dispatch = json!({
        "service_id": id, "estimate_usd": 1, "task_id": task,
        "lease_token": claimed[0].lease_token,
    });
    let refused = client.post("/api/tasks/dispatch", dispatch).await?;
    assert_eq!(refused.problem(402), "service_deferred");
    assert_eq!(
        status(&db.owner, task).await?,
        "IN_PROGRESS",
        "it stays with its agent"
    );
    for body in [
        json!({}),
        json!({"seconds": 1, "until": "2030-01-01T00:00:00Z"}),
        json!({"seconds": -5}),
        json!({"seconds": 1e300}),
        json!({"seconds": "inf"}),
        json!({"until": "soon"}),
        json!({"seconds": 1, "more": 1}),
    ] {
        let answer = client.post(&path, body.clone()).await?;
        assert!([400, 422].contains(&answer.status), "{body}: {answer:?}");
    }
    Ok(())
}
