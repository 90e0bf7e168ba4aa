//! Who may raise budgets, and who edits services, prices and budgets.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::{audit, service, standing, usd};

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
