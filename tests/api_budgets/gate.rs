//! Money is asked for, settled and released; a refusal says what would do.

use anyhow::{Context, Result};
use serde_json::json;
use uuid::Uuid;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::{audit, service};

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
