//! An open hold is widened under the rules of a reservation, or stays as it is.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{
    amount, audit, budget, claim_funded, costly_task, end_window, expire, extend, hold_of, release,
    reserve, reserve_undispatched, reserve_with, service, service_with, settle, standing, usd,
    used,
};
use crate::support::{Database, sqlstate};

/// `extend_charge` from any of its arguments.
async fn extend_with(db: &Database, hold_id: Uuid, arguments: Value) -> sqlx::Result<Value> {
    sqlx::query_scalar(
        "select devart.extend_charge($1, ($2 ->> 'more_usd')::numeric, $2 -> 'usage',
            ($2 ->> 'ttl_seconds')::int, $2 ->> 'idempotency_key')",
    )
    .bind(hold_id)
    .bind(arguments)
    .fetch_one(&db.owner)
    .await
}

#[tokio::test]
async fn more_is_held_as_far_as_the_limit_goes_and_a_refusal_leaves_the_hold_as_it_is() -> Result<()>
{
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "4").await?);
    let more = extend(&db.owner, hold, "5").await?;
    assert_eq!(hold_of(&more), hold);
    assert_eq!(amount(&more, "held_usd"), usd("9"));
    assert_eq!(amount(&more, "remaining_usd"), usd("1"));
    let refused = extend(&db.owner, hold, "2").await?;
    assert_eq!(
        (&refused["admitted"], &refused["code"]),
        (&json!(false), &json!("budget_exceeded"))
    );
    assert_eq!(amount(&refused, "held_usd"), usd("9"));
    assert_eq!(amount(&refused, "remaining_usd"), usd("1"));
    assert_eq!(amount(&refused, "needed_usd"), usd("2"));
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("9"));
    audit(&db.owner).await;
    let settled = settle(&db.owner, hold, "8.5").await?;
    assert_eq!(amount(&settled, "overage_usd"), usd("0"));
    let now = standing(&db.owner, id).await?;
    assert_eq!((now.spent_usd, now.held_usd), (usd("8.5"), usd("0")));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn every_limit_that_the_hold_counts_in_has_a_say() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let limit = budget(&db.owner, "agent", agent.id, "5").await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 2})).await?);
    let refused = extend(&mut session, hold, "4").await?;
    assert_eq!(
        (&refused["scope"], &refused["scope_id"]),
        (&json!("agent"), &json!(limit))
    );
    hold_of(&extend(&mut session, hold, "3").await?);
    assert_eq!(used(&db.owner, limit).await?, (usd("0"), usd("5")));
    sqlx::query("select devart.delete_budget($1)")
        .bind(limit)
        .execute(&db.owner)
        .await?;
    hold_of(&extend(&mut session, hold, "3").await?);
    audit(&db.owner).await;
    let other = db.agent(&[]).await?;
    let mut session = db.session_as(other.caller()).await?;
    let forbidden = extend(&mut session, hold, "1").await;
    assert_eq!(sqlstate(&forbidden), "42501");
    settle(&db.owner, hold, "8").await?;
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_the_hold_does_not_count_in_is_not_evaded_by_extending() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let daily = json!({"name": "daily", "budget_usd": 10, "period": "day"});
    let id = service_with(&db.owner, daily).await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 2})).await?);
    budget(&db.owner, "agent", agent.id, "100").await?;
    let refused = extend(&mut session, hold, "1").await?;
    assert_eq!(refused["code"], "reserve_anew", "a limit came");
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 2})).await?);
    hold_of(&extend(&mut session, hold, "1").await?);
    end_window(&db.owner, id).await?;
    let refused = extend(&mut session, hold, "1").await?;
    assert_eq!(refused["code"], "reserve_anew", "the window ended");
    hold_of(&extend(&mut session, hold, "0").await?);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_hold_that_is_over_is_not_extended() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    for end in ["settled", "released", "due", "presumed"] {
        let hold = hold_of(&reserve(&db.owner, id, "1").await?);
        match end {
            "settled" => drop(settle(&db.owner, hold, "1").await?),
            "released" => drop(release(&db.owner, hold).await?),
            _ => expire(&db.owner, hold).await?,
        }
        if end == "presumed" {
            db.maintain().await?;
        }
        let over = extend(&db.owner, hold, "1").await?;
        assert_eq!(
            (&over["admitted"], &over["code"]),
            (&json!(false), &json!("hold_over")),
            "{end}"
        );
    }
    let unknown = extend(&db.owner, Uuid::now_v7(), "1").await;
    assert_eq!(sqlstate(&unknown), "P0002");
    db.maintain().await?;
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn suspended_and_disabled_services_widen_nothing() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    let other = hold_of(&reserve(&db.owner, id, "1").await?);
    settle(&db.owner, other, "10").await?;
    assert_eq!(
        extend(&db.owner, hold, "1").await?["code"],
        "service_suspended"
    );
    hold_of(&extend(&db.owner, hold, "0").await?);
    sqlx::query("update devart.service_registry set status = 'DISABLED'")
        .execute(&db.owner)
        .await?;
    assert_eq!(
        extend(&db.owner, hold, "1").await?["code"],
        "service_disabled"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn money_that_is_due_back_is_there_for_an_extension() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "4").await?);
    let forgotten = hold_of(&reserve_undispatched(&db.owner, id, "6").await?);
    assert_eq!(extend(&db.owner, hold, "6").await?["admitted"], false);
    expire(&db.owner, forgotten).await?;
    hold_of(&extend(&db.owner, hold, "6").await?);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn usage_costs_what_it_did_when_the_hold_was_made_and_the_answer_says_what_would_do()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1").await?;
    let price = async |price: &str| {
        sqlx::query("select devart.set_service_price($1, 'token', $2)")
            .bind(id)
            .bind(usd(price))
            .execute(&db.owner)
            .await
    };
    price("0.01").await?;
    let hold = hold_of(&reserve_with(&db.owner, id, json!({"usage": {"token": 50}})).await?);
    price("0.5").await?;
    let more = extend_with(&db, hold, json!({"usage": {"token": 20}})).await?;
    assert_eq!(amount(&more, "held_usd"), usd("0.7"));
    let refused = extend_with(&db, hold, json!({"usage": {"token": 60}})).await?;
    assert_eq!(refused["max_affordable_units"], json!({"token": 30}));
    let unpriced = extend_with(&db, hold, json!({"usage": {"gpu": 1}})).await?;
    assert_eq!(unpriced["code"], "price_unknown");
    for nonsense in [
        json!({}),
        json!({"more_usd": -1}),
        json!({"usage": {}}),
        json!({"ttl_seconds": 0}),
        json!({"ttl_seconds": 2_592_001}),
    ] {
        let refused = extend_with(&db, hold, nonsense.clone()).await;
        assert_eq!(sqlstate(&refused), "22023", "{nonsense}");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_extension_moves_the_end_but_not_beyond_the_longest_hold() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    let lasts = async || -> sqlx::Result<f64> {
        sqlx::query_scalar(
            "select extract(epoch from expires_at - created_at)::float8 from devart.holds
             where id = $1",
        )
        .bind(hold)
        .fetch_one(&db.owner)
        .await
    };
    extend_with(&db, hold, json!({"ttl_seconds": 60})).await?;
    assert_eq!(lasts().await?.round(), 600.0, "never sooner");
    db.set("max_hold_seconds", json!(1800)).await?;
    extend_with(&db, hold, json!({"ttl_seconds": 3600})).await?;
    assert_eq!(lasts().await?, 1800.0);
    let capped: bool = sqlx::query_scalar(
        "select (devart.reserve_charge($1, 1, ttl => '1 day') ->> 'expires_at')::timestamptz
            <= clock_timestamp() + interval '1800 seconds'",
    )
    .bind(id)
    .fetch_one(&db.owner)
    .await?;
    assert!(capped);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_same_key_extends_once() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    let request = json!({"more_usd": 2, "idempotency_key": "k"});
    let first = extend_with(&db, hold, request.clone()).await?;
    assert_eq!(extend_with(&db, hold, request).await?, first);
    let other = json!({"more_usd": 3, "idempotency_key": "k"});
    assert_eq!(sqlstate(&extend_with(&db, hold, other).await), "23505");
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("3"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_agent_blocks_no_service_with_what_it_holds() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    db.set("max_held_usd_per_agent", json!(5)).await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 3})).await?);
    let refused = reserve_with(&mut session, id, json!({"estimate_usd": 3})).await?;
    assert_eq!(
        (&refused["code"], &refused["scope"]),
        (&json!("too_much_held"), &json!("agent"))
    );
    assert_eq!(amount(&refused, "remaining_usd"), usd("2"));
    let refused = extend(&mut session, hold, "3").await?;
    assert_eq!(refused["code"], "too_much_held");
    assert_eq!(amount(&refused, "remaining_usd"), usd("2"));
    let more = extend(&mut session, hold, "2").await?;
    assert_eq!(amount(&more, "held_usd"), usd("5"));
    let task = costly_task(&db.owner, "t", id, "1").await?;
    assert!(claim_funded(&db.owner, agent.id, 1).await?.is_empty());
    let other = db.agent(&[]).await?;
    let claimed = claim_funded(&db.owner, other.id, 1).await?;
    assert_eq!(claimed[0].task_id, task, "another agent can have it");
    settle(&mut session, hold, "1").await?;
    hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 5})).await?);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn over_http_a_refused_extension_is_402_and_says_what_is_left() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let api = Api::start(&db).await?;
    let http = api.agent(&agent);
    let body = json!({"service_id": id, "estimate_usd": 4});
    let hold = hold_of(&http.post("/api/tasks/dispatch", body).await?.expect(200));
    let path = format!("/api/charges/{hold}/extend");
    let more = http.post(&path, json!({"more_usd": 2})).await?.expect(200);
    assert_eq!(amount(&more, "held_usd"), usd("6"));
    let refused = http.post(&path, json!({"more_usd": 5})).await?;
    assert_eq!(refused.problem(402), "budget_exceeded");
    assert_eq!(amount(&refused.body, "remaining_usd"), usd("4"));
    for nonsense in [
        json!({}),
        json!({"more_usd": "x"}),
        json!({"ttl_seconds": 0}),
        json!({"less_usd": 1}),
    ] {
        let refused = http.post(&path, nonsense.clone()).await?;
        assert!((400..500).contains(&refused.status), "{nonsense}");
        assert_ne!(refused.status, 402, "{nonsense}");
    }
    settle(&db.owner, hold, "1").await?;
    let over = http.post(&path, json!({"more_usd": 1})).await?;
    assert_eq!(over.problem(402), "hold_over");
    audit(&db.owner).await;
    Ok(())
}
