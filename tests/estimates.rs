//! A call whose caller gives no estimate is held at what such calls cost lately
//! (sql/idempotent/346_money_estimates.sql).

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{amount, audit, charge, hold_of, reserve_with, service, usd};
use crate::support::queue::{claim, create};
use crate::support::{Database, sqlstate};

/// What is held for a call of the service, for a task or none, that nobody estimated.
async fn unestimated(db: &Database, id: Uuid, task_id: Option<Uuid>) -> Result<Value> {
    Ok(reserve_with(&db.owner, id, json!({"task_id": task_id})).await?)
}

/// Lets the next maintain() reckon anew.
async fn reckon(db: &Database) -> Result<()> {
    sqlx::query("delete from devart_private.estimate_runs")
        .execute(&db.owner)
        .await?;
    assert!(db.maintain().await?["estimates_reckoned"].as_i64() > Some(0));
    Ok(())
}

async fn set_floor(db: &Database, id: Uuid, floor: Value) -> sqlx::Result<()> {
    sqlx::query("select devart.update_service($1, $2)")
        .bind(id)
        .bind(json!({"estimate_floor_usd": floor}))
        .execute(&db.owner)
        .await
        .map(drop)
}

#[tokio::test]
async fn without_history_and_floor_it_is_refused_and_asks_nobody() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "100").await?;
    db.maintain().await?;
    let refused = unestimated(&db, id, None).await?;
    assert_eq!(
        (&refused["admitted"], &refused["code"]),
        (&json!(false), &json!("no_estimate"))
    );
    let unknown = unestimated(&db, Uuid::now_v7(), None).await;
    assert!(unknown.is_err(), "no such service");

    let task = create(&db.owner, json!({"title": "t"})).await?;
    claim(&db.owner, agent.id).await?;
    let api = Api::start(&db).await?;
    let dispatch = json!({"service_id": id, "task_id": task});
    let answer = api
        .client(agent.caller())
        .post("/api/tasks/dispatch", dispatch)
        .await?;
    assert_eq!(answer.problem(402), "no_estimate");
    assert_eq!(answer.body["task_status"], Value::Null);

    set_floor(&db, id, json!(0.5)).await?;
    let held = unestimated(&db, id, Some(task)).await?;
    assert_eq!(amount(&held, "held_usd"), usd("0.5"));
    for floor in [json!("NaN"), json!(1e12)] {
        assert_eq!(sqlstate(&set_floor(&db, id, floor).await), "22023");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn nineteen_of_twenty_calls_cost_no_more_than_what_is_held() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1000").await?;
    for cost in 1..=20 {
        charge(&db.owner, id, &cost.to_string(), None).await?;
    }
    reckon(&db).await?;
    let held = unestimated(&db, id, None).await?;
    assert_eq!(amount(&held, "held_usd"), usd("19"));
    set_floor(&db, id, json!(25)).await?;
    let held = unestimated(&db, id, None).await?;
    assert_eq!(amount(&held, "held_usd"), usd("25"), "at least the floor");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn each_kind_of_task_has_its_own_history_and_new_kinds_that_of_all() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["draw", "write"]).await?;
    let id = service(&db.owner, "model", "1000").await?;
    let mut tasks = Vec::new();
    for capability in ["draw", "write"] {
        let task = json!({"title": "t", "required_capabilities": [capability]});
        tasks.push(create(&db.owner, task).await?);
        claim(&db.owner, agent.id).await?;
    }
    // Held at 3 and really 7, as one call: what it came to counts, and what is only held does not.
    let request = json!({"estimate_usd": 3, "task_id": tasks[0]});
    let hold = hold_of(&reserve_with(&db.owner, id, request).await?);
    sqlx::query("select devart.settle_charge($1, 7)")
        .bind(hold)
        .execute(&db.owner)
        .await?;
    let request = json!({"estimate_usd": 90, "task_id": tasks[1]});
    reserve_with(&db.owner, id, request).await?;
    charge(&db.owner, id, "9", None).await?;
    reckon(&db).await?;
    let held = unestimated(&db, id, Some(tasks[0])).await?;
    assert_eq!(amount(&held, "held_usd"), usd("7"));
    let held = unestimated(&db, id, Some(tasks[1])).await?;
    assert_eq!(amount(&held, "held_usd"), usd("9"), "that of all");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_repeated_request_without_an_estimate_is_answered_the_same() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1000").await?;
    set_floor(&db, id, json!(1)).await?;
    let request = json!({"idempotency_key": "k"});
    let first = reserve_with(&db.owner, id, request.clone()).await?;
    set_floor(&db, id, json!(2)).await?;
    assert_eq!(reserve_with(&db.owner, id, request).await?, first);
    audit(&db.owner).await;
    Ok(())
}
