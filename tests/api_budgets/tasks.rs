//! Tasks that cost money: they carry their hold, or wait for a supervisor.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::{amount, audit, costly_task, service, usd};
use crate::support::http::Http;
use crate::support::queue::{create, status};

async fn claim_one(http: &Http) -> Result<Value> {
    let claimed = http.post("/api/tasks/claim", json!({})).await?.expect(200);
    Ok(claimed["items"][0].clone())
}

#[tokio::test]
async fn a_task_waits_for_budget_and_goes_on_when_a_supervisor_decides() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    let supervisor = api.client(db.person("supervisor").await?);
    let id = service(&db.owner, "model", "1").await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_one(&http).await?;
    assert_eq!(task["hold_id"], Value::Null);
    let ask = json!({"service_id": id, "estimate_usd": 3, "task_id": task_id, "lease_token": task["lease_token"]});
    let refused = http.post("/api/tasks/dispatch", ask.clone()).await?;
    assert_eq!(refused.problem(402), "budget_exceeded");
    assert_eq!(refused.body["task_status"], "AWAITING_APPROVAL");
    assert_eq!(
        status(&db.owner, task_id).await?,
        "AWAITING_APPROVAL",
        "a refusal is kept, not rolled back"
    );
    assert_eq!(
        http.post("/api/tasks/dispatch", ask).await?.problem(409),
        "lease_lost"
    );
    let approvals = supervisor
        .get("/api/approvals?status=PENDING")
        .await?
        .expect(200);
    let approval = &approvals["items"][0];
    assert_eq!(
        (
            &approval["subject"],
            &approval["id"],
            amount(&approval["detail"], "needed_usd")
        ),
        (&json!("budget"), &refused.body["approval_id"], usd("3"),)
    );
    let path = format!(
        "/api/approvals/{}/decision",
        approval["id"].as_str().context("an id")?
    );
    let wrong = supervisor
        .post(&path, json!({"decision": "substitute"}))
        .await?;
    assert_eq!(
        (wrong.problem(422), wrong.body["field"].as_str()),
        ("invalid_argument", Some("service_id"))
    );
    let decided = supervisor
        .post(&path, json!({"decision": "approve", "comment": "worth it"}))
        .await?
        .expect(200);
    assert_eq!(decided["status"], "APPROVED");
    let again = claim_one(&http).await?;
    assert_eq!(
        (&again["task_id"], &again["attempt"]),
        (&json!(task_id), &json!(2))
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_claim_over_http_carries_its_hold_and_the_status_list_what_is_held() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    let id = service(&db.owner, "model", "10").await?;
    costly_task(&db.owner, "costly", id, "4").await?;
    let task = claim_one(&http).await?;
    assert!(task["hold_id"].is_string());
    let viewer = api.client(db.person("viewer").await?);
    let listed = viewer.get("/api/services/status").await?.expect(200);
    let row = &listed["items"][0];
    assert_eq!(
        (
            row["held_usd"].to_string().as_str(),
            row["remaining_usd"].to_string().as_str()
        ),
        ("4.000000", "6.000000")
    );
    assert_eq!(row["window_end"], Value::Null, "a budget for good");
    let second = costly_task(&db.owner, "second", id, "3").await?;
    let started = http
        .post(&format!("/api/tasks/{second}/start"), json!({}))
        .await?
        .expect(200);
    assert!(started["hold_id"].is_string());
    let third = costly_task(&db.owner, "third", id, "4").await?;
    let refused = http
        .post(&format!("/api/tasks/{third}/start"), json!({}))
        .await?;
    assert_eq!(refused.problem(409), "wrong_state");
    assert_eq!(
        status(&db.owner, third).await?,
        "AWAITING_APPROVAL",
        "an unaffordable task waits"
    );
    audit(&db.owner).await;
    Ok(())
}
