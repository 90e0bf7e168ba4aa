//! Money over HTTP: the gate, settlement, budgets, prices, and who may do what.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::{amount, audit, costly_task, service, standing, usd};
use crate::support::http::Http;
use crate::support::queue::{create, status};

async fn claim_one(http: &Http) -> Result<Value> {
    let claimed = http.post("/api/tasks/claim", json!({})).await?.expect(200);
    Ok(claimed["items"][0].clone())
}

#[tokio::test]
async fn money_is_asked_for_settled_and_released() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    let id = service(&db.owner, "model", "10").await?;
    let ask = json!({"service_id": id, "estimate_usd": 4.5, "idempotency_key": "k"});
    let hold = http
        .post("/api/tasks/dispatch", ask.clone())
        .await?
        .expect(200);
    assert_eq!(
        (
            &hold["admitted"],
            hold["remaining_usd"].to_string().as_str()
        ),
        (&json!(true), "5.500000")
    );
    let again = http.post("/api/tasks/dispatch", ask).await?.expect(200);
    assert_eq!(again["hold_id"], hold["hold_id"]);
    let path = format!(
        "/api/charges/{}/settle",
        hold["hold_id"].as_str().context("a hold")?
    );
    let settled = http
        .post(&path, json!({"amount_usd": 4.000001}))
        .await?
        .expect(200);
    assert_eq!(settled["charged_usd"].to_string(), "4.000001");
    assert_eq!(
        http.post(&path, json!({"amount_usd": 1}))
            .await?
            .problem(409),
        "wrong_state"
    );
    assert_eq!(
        http.post(&path, json!({})).await?.problem(422),
        "invalid_argument"
    );
    let hold = http
        .post(
            "/api/tasks/dispatch",
            json!({"service_id": id, "estimate_usd": 1}),
        )
        .await?
        .expect(200);
    let path = format!(
        "/api/charges/{}/release",
        hold["hold_id"].as_str().context("a hold")?
    );
    for released in [true, false] {
        assert_eq!(
            http.post(&path, json!({})).await?.expect(200)["released"],
            released
        );
    }
    let stranger = api.agent(&db.agent(&[]).await?);
    assert_eq!(
        stranger.post(&path, json!({})).await?.problem(403),
        "forbidden"
    );
    let nothing = format!("/api/charges/{}/release", Uuid::now_v7());
    assert_eq!(
        http.post(&nothing, json!({})).await?.problem(404),
        "not_found"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_402_with_what_remains_and_what_would_do() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    let admin = api.client(db.person("admin").await?);
    let id = service(&db.owner, "model", "1").await?;
    let price = json!({"unit": "input_token", "usd_per_unit": 0.000002});
    let set = admin
        .post(&format!("/api/services/{id}/prices"), price)
        .await?
        .expect(201);
    assert_eq!(set["usd_per_unit"].to_string(), "0.000002000000");
    let ask = json!({"service_id": id, "usage": {"input_token": 1_000_000}});
    let refused = http.post("/api/tasks/dispatch", ask).await?;
    assert_eq!(refused.problem(402), "budget_exceeded");
    assert_eq!(refused.body["reason"], "budget exceeded");
    assert_eq!(refused.body["remaining_usd"].to_string(), "1.000000");
    assert_eq!(
        refused.body["max_affordable_units"],
        json!({"input_token": 500_000})
    );
    let unpriced = json!({"service_id": id, "usage": {"second": 1}});
    assert_eq!(
        http.post("/api/tasks/dispatch", unpriced)
            .await?
            .problem(402),
        "price_unknown"
    );
    let prices = api
        .client(db.person("viewer").await?)
        .get(&format!("/api/services/{id}/prices"))
        .await?
        .expect(200);
    assert_eq!(prices["items"][0]["unit"], "input_token");
    for (body, field) in [
        (json!({"service_id": id}), "estimate_usd"),
        (
            json!({"service_id": id, "estimate_usd": -1}),
            "estimate_usd",
        ),
        (
            json!({"service_id": id, "usage": {"input_token": -1}}),
            "usage.input_token",
        ),
        (json!({"service_id": id, "estimate": 1}), "estimate"),
        (
            json!({"service_id": id, "estimate_usd": 1, "ttl_seconds": 0}),
            "ttl_seconds",
        ),
    ] {
        let refused = http.post("/api/tasks/dispatch", body).await?;
        assert_eq!(
            (refused.problem(422), refused.body["field"].as_str()),
            ("invalid_argument", Some(field))
        );
    }
    audit(&db.owner).await;
    Ok(())
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

#[tokio::test]
async fn supervisors_raise_budgets_and_only_admins_edit_services_prices_and_budgets() -> Result<()>
{
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let (admin, supervisor) = (
        api.client(db.person("admin").await?),
        api.client(db.person("supervisor").await?),
    );
    let viewer = api.client(db.person("viewer").await?);
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "10").await?;

    let increase = format!("/api/services/{id}/increase-budget");
    assert_eq!(
        viewer
            .post(&increase, json!({"amount_usd": 5}))
            .await?
            .problem(403),
        "forbidden"
    );
    let raised = supervisor
        .post(&increase, json!({"amount_usd": 5}))
        .await?
        .expect(200);
    assert_eq!(raised["budget_usd"].to_string(), "15.000000");
    assert_eq!(
        supervisor
            .post(&increase, json!({"budget_usd": 20}))
            .await?
            .expect(200)["budget_usd"]
            .to_string(),
        "20.000000"
    );
    for body in [
        json!({}),
        json!({"amount_usd": 1, "budget_usd": 30}),
        json!({"budget_usd": 3}),
        json!({"amount_usd": 0}),
    ] {
        assert_eq!(
            supervisor.post(&increase, body).await?.problem(422),
            "invalid_argument"
        );
    }

    let path = format!("/api/services/{id}");
    let changes = json!({"description": "a model", "budget_usd": null, "period": "month", "time_zone": "Europe/Berlin"});
    assert_eq!(
        supervisor.put(&path, changes.clone()).await?.problem(403),
        "forbidden"
    );
    let edited = admin.put(&path, changes).await?.expect(200);
    assert_eq!(
        (
            &edited["description"],
            &edited["budget_usd"],
            &edited["period"]
        ),
        (&json!("a model"), &Value::Null, &json!("month"))
    );
    assert_eq!(
        admin
            .put(&path, json!({"time_zone": "Nowhere"}))
            .await?
            .body["field"],
        "time_zone"
    );
    assert_eq!(
        admin.put(&path, json!({"spent_usd": 0})).await?.body["field"],
        "spent_usd"
    );
    assert_eq!(
        admin
            .put(&format!("/api/services/{}", Uuid::now_v7()), json!({}))
            .await?
            .problem(404),
        "not_found"
    );
    let price = json!({"unit": "request", "usd_per_unit": 1});
    assert_eq!(
        supervisor
            .post(&format!("{path}/prices"), price)
            .await?
            .problem(403),
        "forbidden"
    );

    let new = json!({"scope": "agent", "scope_id": agent.id, "budget_usd": 2, "period": "day"});
    assert_eq!(
        supervisor
            .post("/api/budgets", new.clone())
            .await?
            .problem(403),
        "forbidden"
    );
    let made = admin.post("/api/budgets", new.clone()).await?.expect(201);
    assert_eq!(
        (&made["scope"], &made["period"]),
        (&json!("agent"), &json!("day"))
    );
    assert_eq!(
        admin.post("/api/budgets", new).await?.problem(409),
        "duplicate"
    );
    let ask = json!({"service_id": id, "estimate_usd": 3});
    let refused = api
        .agent(&agent)
        .post("/api/tasks/dispatch", ask.clone())
        .await?;
    assert_eq!(
        (refused.problem(402), &refused.body["scope"]),
        ("budget_exceeded", &json!("agent"))
    );
    let path = format!("/api/budgets/{}", made["id"].as_str().context("an id")?);
    assert_eq!(
        supervisor
            .put(&path, json!({"budget_usd": 9}))
            .await?
            .problem(403),
        "forbidden"
    );
    admin
        .put(&path, json!({"budget_usd": 9}))
        .await?
        .expect(200);
    api.agent(&agent)
        .post("/api/tasks/dispatch", ask)
        .await?
        .expect(200);
    let listed = viewer
        .get(&format!("/api/budgets?scope=agent&scope_id={}", agent.id))
        .await?
        .expect(200);
    assert_eq!(listed["items"][0]["held_usd"].to_string(), "3.000000");
    assert_eq!(
        viewer.get("/api/budgets?scope=task").await?.expect(200)["items"],
        json!([])
    );
    admin.delete(&path).await?.expect(204);
    assert_eq!(admin.delete(&path).await?.problem(404), "not_found");

    let audited: Vec<String> = sqlx::query_scalar(
        "select table_name || ' ' || action from devart.audit_log where table_name in ('budgets', 'service_registry') and actor like 'user:%' order by id",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(
        audited,
        [
            "service_registry update",
            "service_registry update",
            "service_registry update",
            "budgets insert",
            "budgets update",
            "budgets delete",
        ],
        "what people decide is in the audit log"
    );
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("3"));
    audit(&db.owner).await;
    Ok(())
}
