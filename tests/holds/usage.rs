//! Usage and its prices.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::support::budget::{amount, audit, hold_of, reserve, reserve_with, service, usd};
use crate::support::{Database, refusal, sqlstate};

async fn settle_usage(
    executor: impl PgExecutor<'_>,
    hold_id: Uuid,
    usage: Value,
) -> sqlx::Result<Value> {
    sqlx::query_scalar("select devart.settle_charge($1, usage => $2)")
        .bind(hold_id)
        .bind(usage)
        .fetch_one(executor)
        .await
}

async fn price(db: &Database, service_id: Uuid, unit: &str, price: &str) -> sqlx::Result<()> {
    sqlx::query("select devart.set_service_price($1, $2, $3)")
        .bind(service_id)
        .bind(unit)
        .bind(usd(price))
        .execute(&db.owner)
        .await
        .map(drop)
}

#[tokio::test]
async fn usage_is_priced_and_the_price_is_pinned_on_the_hold() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    price(&db, id, "input_token", "0.000002").await?;
    price(&db, id, "output_token", "0.00001").await?;
    let usage = json!({"input_token": 1_000_000, "output_token": 100_000});
    let hold = reserve_with(&db.owner, id, json!({"usage": usage})).await?;
    assert_eq!(amount(&hold, "held_usd"), usd("3"));
    price(&db, id, "input_token", "1").await?;
    let estimated = hold_of(&reserve(&db.owner, id, "1").await?);
    price(&db, id, "input_token", "2").await?;
    let usage = json!({"input_token": 500_000, "output_token": 50_000});
    let settled = settle_usage(&db.owner, hold_of(&hold), usage).await?;
    assert_eq!(amount(&settled, "charged_usd"), usd("1.5"));
    let settled = settle_usage(&db.owner, estimated, json!({"input_token": 1})).await?;
    assert_eq!(
        amount(&settled, "charged_usd"),
        usd("1"),
        "also of a hold in dollars"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_unknown_price_refuses_and_never_charges_zero() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    price(&db, id, "request", "0.5").await?;
    for usage in [
        json!({"input_token": 1}),
        json!({"request": 1, "input_token": 0}),
    ] {
        let refused = reserve_with(&db.owner, id, json!({"usage": usage})).await?;
        assert_eq!(
            (&refused["admitted"], &refused["code"]),
            (&json!(false), &json!("price_unknown"))
        );
    }
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    let unpriced = settle_usage(&db.owner, hold, json!({"input_token": 1})).await;
    assert!(refusal(unpriced).contains("input_token"));
    for nonsense in [json!({}), json!([]), json!({"request": -1})] {
        let refused = reserve_with(&db.owner, id, json!({"usage": nonsense})).await;
        assert_eq!(sqlstate(&refused), "22023", "{nonsense}");
    }
    let neither = reserve_with(&db.owner, id, json!({})).await?;
    assert_eq!(neither["code"], "no_estimate");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_refusal_says_how_much_would_have_been_admitted() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1").await?;
    price(&db, id, "input_token", "0.001").await?;
    price(&db, id, "output_token", "0.003").await?;
    let asked = json!({"usage": {"input_token": 1000, "output_token": 1000}});
    let refused = reserve_with(&db.owner, id, asked).await?;
    let affordable = &refused["max_affordable_units"];
    assert_eq!(
        affordable,
        &json!({"input_token": 250, "output_token": 250})
    );
    let shrunk = reserve_with(&db.owner, id, json!({"usage": affordable})).await?;
    assert_eq!(amount(&shrunk, "remaining_usd"), usd("0"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_price_of_the_future_is_not_in_force_and_one_of_the_past_cannot_be_set() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    price(&db, id, "request", "1").await?;
    let set = async |at: &str| {
        sqlx::query("select devart.set_service_price($1, 'request', 5, now() + $2::text::interval)")
            .bind(id)
            .bind(at)
            .execute(&db.owner)
            .await
    };
    set("1 day").await?;
    let hold = reserve_with(&db.owner, id, json!({"usage": {"request": 1}})).await?;
    assert_eq!(amount(&hold, "held_usd"), usd("1"));
    assert_eq!(sqlstate(&set("-1 hour").await), "22023");
    let in_force: Vec<bool> = sqlx::query_scalar(
        "select effective_to is not null from devart.service_prices order by effective_from",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(in_force, [true, false], "the later price ends the earlier");
    audit(&db.owner).await;
    Ok(())
}
