//! Holds: money set aside, settled, released, expired; usage and prices.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::support::budget::{
    amount, audit, charge, expire, hold_of, release, reserve, reserve_with, service, settle,
    standing, usd,
};
use crate::support::queue::{claim, create, expire_lease};
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

/// The ledger's kinds and amounts for a hold.
async fn ledger(db: &Database, hold_id: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select kind || ' ' || trim_scale(amount_usd) from devart.charges where hold_id = $1 order by id",
    )
    .bind(hold_id)
    .fetch_all(&db.owner)
    .await
}

#[tokio::test]
async fn held_money_is_not_there_for_others_until_it_is_settled_or_released() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let first = reserve(&db.owner, id, "6").await?;
    assert_eq!(amount(&first, "remaining_usd"), usd("4"));
    let refused = reserve(&db.owner, id, "5").await?;
    assert_eq!(
        (&refused["admitted"], &refused["reason"]),
        (&json!(false), &json!("budget exceeded"))
    );
    assert_eq!(amount(&refused, "remaining_usd"), usd("4"));
    let settled = settle(&db.owner, hold_of(&first), "2").await?;
    assert_eq!(amount(&settled, "charged_usd"), usd("2"));
    let second = hold_of(&reserve(&db.owner, id, "8").await?);
    assert!(release(&db.owner, second).await?);
    assert!(!release(&db.owner, second).await?, "only once");
    assert_eq!(
        ledger(&db, hold_of(&first)).await?,
        ["hold 6", "settle 2", "release 4"]
    );
    assert_eq!(ledger(&db, second).await?, ["hold 8", "release 8"]);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_settlement_above_the_hold_is_the_truth_and_suspends_at_the_limit() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    let settled = settle(&db.owner, hold, "12.5").await?;
    assert_eq!(amount(&settled, "overage_usd"), usd("11.5"));
    assert_eq!(
        (&settled["suspended"], amount(&settled, "remaining_usd")),
        (&json!(true), usd("0"))
    );
    let now = standing(&db.owner, id).await?;
    assert_eq!(
        (now.status.as_str(), now.spent_usd),
        ("SUSPENDED", usd("12.5"))
    );
    assert_eq!(
        ledger(&db, hold).await?,
        ["hold 1", "settle 1", "overage 11.5"]
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn settling_again_with_the_same_cost_is_answered_the_same_and_with_another_refused()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "5").await?);
    let first = settle(&db.owner, hold, "2").await?;
    assert_eq!(settle(&db.owner, hold, "2.00").await?, first);
    assert_eq!(sqlstate(&settle(&db.owner, hold, "3").await), "55000");
    assert!(!release(&db.owner, hold).await?);
    let unknown = settle(&db.owner, Uuid::now_v7(), "1").await;
    assert_eq!(sqlstate(&unknown), "P0002");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_expired_hold_is_released_by_maintenance_and_a_late_settlement_is_recorded_once()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "4").await?);
    expire(&db.owner, hold).await?;
    assert_eq!(db.maintain().await?["holds_expired"], 1);
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("0"));
    let late = settle(&db.owner, hold, "3").await?;
    assert_eq!(
        (&late["late"], amount(&late, "overage_usd")),
        (&json!(true), usd("3"))
    );
    assert_eq!(settle(&db.owner, hold, "3").await?, late);
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("3"));
    assert_eq!(
        ledger(&db, hold).await?,
        ["hold 4", "release 4", "overage 3"]
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn whoever_needs_the_money_of_an_expired_hold_gets_it_without_waiting_for_maintenance()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "9").await?);
    assert_eq!(reserve(&db.owner, id, "5").await?["admitted"], false);
    expire(&db.owner, hold).await?;
    assert_eq!(reserve(&db.owner, id, "5").await?["admitted"], true);
    assert_eq!(charge(&db.owner, id, "5", None).await?["success"], true);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_hold_lasts_as_long_as_it_was_asked_to() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let lasts: Vec<bool> = sqlx::query_scalar(
        "select (devart.reserve_charge($1, 1, ttl => t) ->> 'expires_at')::timestamptz - clock_timestamp()
            between t - interval '5 s' and t
         from unnest('{1 hour,1 minute,10 minutes}'::interval[]) t",
    )
    .bind(id)
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(lasts, [true; 3]);
    for ttl in ["0", "-1 s", "31 days"] {
        let refused = sqlx::query("select devart.reserve_charge($1, 1, ttl => $2::text::interval)")
            .bind(id)
            .bind(ttl)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&refused), "22023", "{ttl}");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_same_key_gives_the_same_hold_and_not_another() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let request = json!({"estimate_usd": 3, "idempotency_key": "k"});
    let first = reserve_with(&db.owner, id, request.clone()).await?;
    assert_eq!(reserve_with(&db.owner, id, request).await?, first);
    let other = json!({"estimate_usd": 4, "idempotency_key": "k"});
    let refused = reserve_with(&db.owner, id, other).await;
    assert_eq!(sqlstate(&refused), "23505");
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("3"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn one_agents_key_is_not_anothers() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let mut holds = Vec::new();
    for _ in 0..2 {
        let agent = db.agent(&[]).await?;
        let mut session = db.session_as(agent.caller()).await?;
        let request = json!({"estimate_usd": 3, "idempotency_key": "k"});
        holds.push(hold_of(&reserve_with(&mut session, id, request).await?));
    }
    assert_ne!(holds[0], holds[1]);
    audit(&db.owner).await;
    Ok(())
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
    let neither = reserve_with(&db.owner, id, json!({})).await;
    assert_eq!(sqlstate(&neither), "22023");
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

#[tokio::test]
async fn a_reservation_under_a_lost_lease_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "10").await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim(&db.owner, agent.id).await?.expect("a task");
    let request =
        json!({"estimate_usd": 1, "task_id": task.task_id, "lease_token": task.lease_token});
    let mut session = db.session_as(agent.caller()).await?;
    hold_of(&reserve_with(&mut session, id, request.clone()).await?);
    expire_lease(&db.owner, task.task_id).await?;
    db.maintain().await?;
    let lost = reserve_with(&mut session, id, request).await;
    assert_eq!(sqlstate(&lost), "55P03");
    audit(&db.owner).await;
    Ok(())
}
