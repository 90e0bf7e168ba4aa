//! Held money is settled or released, once.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use super::ledger;
use crate::support::budget::{
    amount, audit, hold_of, release, reserve, reserve_with, service, settle, standing, usd,
};
use crate::support::queue::{claim, create, expire_lease};
use crate::support::{Database, sqlstate};

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
