//! `charge_service`: refusals are answers, limits hold under concurrency, the ledger adds up.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::queue::{claim, create};
use crate::support::{Database, sqlstate};

async fn service(
    db: &Database,
    name: &str,
    budget: &str,
    substitute: Option<Uuid>,
) -> sqlx::Result<Uuid> {
    sqlx::query_scalar(
        "insert into devart.service_registry (name, budget_usd, substitute_service_id) values ($1, $2::text::numeric, $3) returning id",
    )
    .bind(name)
    .bind(budget)
    .bind(substitute)
    .fetch_one(&db.owner)
    .await
}

async fn charge(
    db: &Database,
    service_id: Uuid,
    amount: &str,
    key: Option<&str>,
) -> sqlx::Result<Value> {
    sqlx::query_scalar("select devart.charge_service($1, $2::text::numeric, null, $3)")
        .bind(service_id)
        .bind(amount)
        .bind(key)
        .fetch_one(&db.owner)
        .await
}

/// Whether the ledger and the sum agree for every service.
async fn ledger_adds_up(db: &Database) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select bool_and(s.spent_usd = coalesce((select sum(c.amount_usd) from devart.charges c where c.service_id = s.id), 0))
         from devart.service_registry s",
    )
    .fetch_one(&db.owner)
    .await
}

#[tokio::test]
async fn a_charge_above_the_limit_is_refused_and_one_that_reaches_it_suspends() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db, "model", "1", None).await?;
    let refused = charge(&db, id, "1.000001", None).await?;
    assert_eq!(
        (&refused["success"], &refused["reason"]),
        (&json!(false), &json!("budget exceeded"))
    );
    let last = charge(&db, id, "1", None).await?;
    assert_eq!(
        (&last["success"], &last["suspended"]),
        (&json!(true), &json!(true))
    );
    let after = charge(&db, id, "0", None).await?;
    assert_eq!(after["reason"], "service is suspended");
    assert!(ledger_adds_up(&db).await?);
    Ok(())
}

#[tokio::test]
async fn a_suspension_writes_an_alert_for_a_topic_that_somebody_delivers() -> Result<()> {
    let db = Database::create().await?;
    for (topics, alerts) in [(json!([]), 0_i64), (json!(["telegram.alert"]), 1)] {
        db.set("outbox_topics", topics).await?;
        let id = service(&db, &format!("model {alerts}"), "1", None).await?;
        charge(&db, id, "1", None).await?;
        let rows: i64 = sqlx::query_scalar("select count(*) from devart_private.outbox")
            .fetch_one(&db.owner)
            .await?;
        assert_eq!(rows, alerts);
    }
    Ok(())
}

#[tokio::test]
async fn a_suspended_service_hands_over_to_its_substitute() -> Result<()> {
    let db = Database::create().await?;
    let cheap = service(&db, "cheap", "5", None).await?;
    let dear = service(&db, "dear", "1", Some(cheap)).await?;
    charge(&db, dear, "1", None).await?;
    let delegated = charge(&db, dear, "2", None).await?;
    assert_eq!(
        (&delegated["delegated"], &delegated["charged_service_id"]),
        (&json!(true), &json!(cheap))
    );
    let circle =
        sqlx::query("update devart.service_registry set substitute_service_id = $1 where id = $2")
            .bind(dear)
            .bind(cheap)
            .execute(&db.owner)
            .await;
    assert_eq!(sqlstate(&circle), "22023");
    assert!(ledger_adds_up(&db).await?);
    Ok(())
}

#[tokio::test]
async fn one_key_charges_once_however_often_it_is_sent() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db, "model", "100", None).await?;
    let answers =
        futures::future::try_join_all((0..100).map(|_| charge(&db, id, "3", Some("k")))).await?;
    assert!(
        answers
            .iter()
            .all(|answer| answer["success"] == true && answer["spent_usd"].as_f64() == Some(3.0))
    );
    assert_eq!(sqlstate(&charge(&db, id, "4", Some("k")).await), "23505");
    assert!(ledger_adds_up(&db).await?);
    Ok(())
}

#[tokio::test]
async fn many_at_once_never_spend_more_than_there_is() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db, "model", "1", None).await?;
    let answers =
        futures::future::try_join_all((0..200).map(|_| charge(&db, id, "0.013", None))).await?;
    let accepted = answers
        .iter()
        .filter(|answer| answer["success"] == true)
        .count();
    assert_eq!(accepted, 76, "76 times 0.013 is the most that fits into 1");
    assert!(ledger_adds_up(&db).await?);
    Ok(())
}

#[tokio::test]
async fn an_agent_charges_only_for_a_task_it_works_on() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let service_id = service(&db, "model", "10", None).await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    claim(&db.owner, agent.id).await?;
    for (caller, outcome) in [(agent.caller(), "ok"), (other.caller(), "42501")] {
        let charged = sqlx::query("select devart.charge_service($1, 1, $2)")
            .bind(service_id)
            .bind(task_id)
            .execute(&mut db.session_as(caller).await?)
            .await;
        assert_eq!(sqlstate(&charged), outcome);
    }
    let (agent_id, attempt): (Uuid, i32) =
        sqlx::query_as("select agent_id, attempt from devart.charges")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(
        (agent_id, attempt),
        (agent.id, 1),
        "cost is known per attempt"
    );
    let negative = charge(&db, service_id, "-1", None).await;
    assert_eq!(sqlstate(&negative), "22023");
    Ok(())
}
