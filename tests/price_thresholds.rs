//! Prices that are dearer for large calls, and units that nobody has set a price for.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{amount, audit, hold_of, reserve_with, service, usd};
use crate::support::{Database, sqlstate};

/// A service whose input costs a cent, and two in a call of more than a hundred.
async fn long_context(db: &Database) -> Result<Uuid> {
    let id = service(&db.owner, "model", "10").await?;
    sqlx::query(
        "select devart.set_service_price(
             $1, 'input_token', 0.01, above_units => 100, usd_per_unit_above => 0.02)",
    )
    .bind(id)
    .execute(&db.owner)
    .await?;
    Ok(id)
}

async fn settle_usage(db: &Database, hold_id: Uuid, usage: Value) -> sqlx::Result<Value> {
    sqlx::query_scalar("select devart.settle_charge($1, usage => $2)")
        .bind(hold_id)
        .bind(usage)
        .fetch_one(&db.owner)
        .await
}

#[tokio::test]
async fn a_call_above_the_threshold_is_held_and_settled_at_the_dearer_price() -> Result<()> {
    let db = Database::create().await?;
    let id = long_context(&db).await?;
    for (tokens, cost) in [(0, "0"), (100, "1"), (101, "2.02")] {
        let usage = json!({"usage": {"input_token": tokens}});
        let held = reserve_with(&db.owner, id, usage).await?;
        assert_eq!(amount(&held, "held_usd"), usd(cost), "{tokens}");
    }
    let held = reserve_with(&db.owner, id, json!({"usage": {"input_token": 50}})).await?;
    let settled = settle_usage(&db, hold_of(&held), json!({"input_token": 150})).await?;
    assert_eq!(amount(&settled, "charged_usd"), usd("3"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_kind_of_usage_without_a_price_is_refused_even_if_none_was_used() -> Result<()> {
    let db = Database::create().await?;
    let id = long_context(&db).await?;
    let usage = json!({"usage": {"input_token": 1, "cached_input_token": 0}});
    let refused = reserve_with(&db.owner, id, usage).await?;
    assert_eq!(refused["code"], "price_unknown");
    let held = reserve_with(&db.owner, id, json!({"usage": {"input_token": 50}})).await?;
    let unknown = json!({"input_token": 1, "reasoning_token": 7});
    let settled = settle_usage(&db, hold_of(&held), unknown).await;
    assert_eq!(sqlstate(&settled), "22023");
    settle_usage(&db, hold_of(&held), json!({"input_token": 1})).await?;
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_threshold_is_set_with_its_price_or_not_at_all() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let admin = api.client(db.person("admin").await?);
    let id = service(&db.owner, "model", "10").await?;
    let path = format!("/api/services/{id}/prices");
    let price = |more: Value| {
        let mut price = json!({"unit": "input_token", "usd_per_unit": 1});
        let members = more.as_object().cloned().unwrap_or_default();
        price.as_object_mut().expect("an object").extend(members);
        price
    };
    for broken in [
        json!({"above_units": 1}),
        json!({"usd_per_unit_above": 2}),
        json!({"above_units": 1, "usd_per_unit_above": 0.5}),
        json!({"above_units": -1, "usd_per_unit_above": 2}),
        json!({"above_units": 1, "usd_per_unit_above": 1e12}),
    ] {
        let answer = admin.post(&path, price(broken.clone())).await?;
        assert_eq!(answer.status, 422, "{broken}: {}", answer.text);
    }
    let whole = price(json!({"above_units": 100, "usd_per_unit_above": 2}));
    let set = admin.post(&path, whole).await?.expect(201);
    assert_eq!(set["above_units"].to_string(), "100.000000");
    let listed = admin.get(&path).await?.expect(200);
    assert_eq!(
        listed["items"][0]["usd_per_unit_above"],
        set["usd_per_unit_above"]
    );
    Ok(())
}
