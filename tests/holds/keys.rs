//! A reservation that is asked for again.

use anyhow::Result;
use serde_json::json;

use crate::support::budget::{audit, hold_of, reserve_with, service, standing, usd};
use crate::support::{Database, sqlstate};

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
