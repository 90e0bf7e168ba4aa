//! What a message says.

use anyhow::{Context, Result};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{database, messages};
use crate::support::queue::{claim, create, expire_lease, fail, make_due};
use crate::support::{Database, sqlstate};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_message_has_all_that_its_delivery_needs() -> Result<()> {
    let db = database().await?;
    let task = json!({"title": "Weigh it", "priority": "HIGH", "required_capabilities": ["b", "a"], "traceparent": TRACE});
    let id = create(&db.owner, task).await?;
    let expected = json!({
        "kind": "invite", "task_id": id, "attempt": 1, "title": "Weigh it", "priority": "HIGH",
        "routing_key": "todo.a+b", "run_at": null, "reason": null, "traceparent": TRACE,
    });
    assert_eq!(messages(&db).await?, [expected]);
    Ok(())
}

#[tokio::test]
async fn a_failure_that_is_retried_says_when_and_a_final_one_says_why() -> Result<()> {
    let db = database().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 1})).await?;
    messages(&db).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    let (_, run_at) = fail(&db.owner, &claimed, true).await?;
    let delayed = messages(&db).await?;
    let run_at = run_at.context("a time")?;
    let told = OffsetDateTime::parse(delayed[0]["run_at"].as_str().context("a time")?, &Rfc3339)?;
    assert_eq!((delayed[0]["kind"].as_str(), told), (Some("delay"), run_at));
    assert_eq!(delayed[0]["attempt"], 2);

    make_due(&db.owner, id).await?;
    messages(&db).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    fail(&db.owner, &claimed, true).await?;
    let dead = messages(&db).await?;
    assert_eq!(dead[0]["kind"], "dead");
    assert_eq!(dead[0]["reason"], "it broke");
    assert_eq!(dead[0]["attempt"], 2);
    Ok(())
}

#[tokio::test]
async fn a_task_that_keeps_losing_its_workers_is_dead() -> Result<()> {
    let db = database().await?;
    db.set("max_rescues", json!(1)).await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    for _ in 0..2 {
        claim(&db.owner, agent.id).await?.context("the task")?;
        expire_lease(&db.owner, id).await?;
        db.maintain().await?;
    }
    let dead = messages(&db).await?.pop().context("a message")?;
    assert_eq!(dead["kind"], "dead");
    assert_eq!(dead["reason"], "lease of attempt 2 expired");
    Ok(())
}

#[tokio::test]
async fn a_claimed_task_carries_its_trace_and_a_malformed_one_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t", "traceparent": TRACE})).await?;
    let trace: Option<String> =
        sqlx::query_scalar("select traceparent from devart.claim_next_task($1)")
            .bind(agent.id)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(trace.as_deref(), Some(TRACE));
    for malformed in [
        "00-abc",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ] {
        let refused = create(&db.owner, json!({"title": "t", "traceparent": malformed})).await;
        assert_eq!(sqlstate(&refused), "23514", "{malformed}");
    }
    Ok(())
}
