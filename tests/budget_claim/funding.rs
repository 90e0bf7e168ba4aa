//! A claimed or started task comes with the hold of its money, or not at all.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use super::approval_of;
use crate::support::budget::{
    amount, audit, budget, claim_funded, costly_task, service, settle, standing, usd,
};
use crate::support::queue::{create, history, start, status};
use crate::support::{Database, sqlstate};

#[tokio::test]
async fn a_claim_sets_the_estimate_aside_and_names_the_hold() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    costly_task(&db.owner, "costly", id, "4").await?;
    create(&db.owner, json!({"title": "free"})).await?;
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    let titles: Vec<(&str, bool)> = claimed
        .iter()
        .map(|task| (task.title.as_str(), task.hold_id.is_some()))
        .collect();
    assert_eq!(titles, [("costly", true), ("free", false)]);
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("4"));
    settle(&db.owner, claimed[0].hold_id.expect("a hold"), "3").await?;
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("3"));
    let per_attempt: (Uuid, Uuid, i32) = sqlx::query_as(
        "select task_id, agent_id, attempt from devart.charges where kind = 'settle'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(per_attempt, (claimed[0].task_id, agent.id, 1));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_task_whose_money_is_refused_leaves_the_queue_and_other_work_is_handed_out() -> Result<()>
{
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    let mut costly = Vec::new();
    for n in 0..30 {
        costly.push(costly_task(&db.owner, &format!("costly {n}"), id, "2").await?);
    }
    create(&db.owner, json!({"title": "free"})).await?;
    let claimed = claim_funded(&db.owner, agent.id, 1).await?;
    assert_eq!(claimed[0].title, "free", "in the same claim");
    assert_eq!(
        history(&db.owner, costly[0]).await?,
        ["TODO", "AWAITING_APPROVAL"],
        "it was never handed out"
    );
    let (_, detail) = approval_of(&db, costly[0]).await?;
    assert_eq!(
        (
            &detail["service_id"],
            amount(&detail, "needed_usd"),
            &detail["reason"]
        ),
        (&json!(id), usd("2"), &json!("budget exceeded"))
    );
    let left = claim_funded(&db.owner, agent.id, 5).await?;
    assert!(left.is_empty(), "there was one free task: {left:?}");
    let (waiting, attempts): (i64, i64) = sqlx::query_as(
        "select count(*), sum(attempt) from devart.tasks where status = 'AWAITING_APPROVAL'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert!(
        waiting >= 20,
        "a claim does not look at the same tasks for ever: {waiting}"
    );
    assert_eq!(attempts, 0, "an attempt that never started does not count");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_started_task_is_funded_or_waits_as_a_claimed_one() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "3").await?,
    );
    let (first, second) = (
        costly_task(&db.owner, "first", id, "2").await?,
        costly_task(&db.owner, "second", id, "2").await?,
    );
    assert!(start(&db.owner, first, agent.id).await?.is_some());
    assert!(start(&db.owner, second, agent.id).await?.is_none());
    assert_eq!(status(&db.owner, first).await?, "IN_PROGRESS");
    assert_eq!(status(&db.owner, second).await?, "AWAITING_APPROVAL");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn another_agents_budget_has_nothing_to_do_with_a_task_that_this_ones_refuses() -> Result<()>
{
    let db = Database::create().await?;
    let (poor, rich) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let id = service(&db.owner, "model", "100").await?;
    budget(&db.owner, "agent", poor.id, "1").await?;
    let task = costly_task(&db.owner, "costly", id, "2").await?;
    create(&db.owner, json!({"title": "free"})).await?;
    let claimed = claim_funded(&db.owner, poor.id, 2).await?;
    assert_eq!(
        claimed
            .iter()
            .map(|task| task.title.as_str())
            .collect::<Vec<_>>(),
        ["free"]
    );
    assert_eq!(
        status(&db.owner, task).await?,
        "TODO",
        "it waits for an agent that can pay"
    );
    let claimed = claim_funded(&db.owner, rich.id, 2).await?;
    assert_eq!((claimed[0].task_id, claimed[0].attempt), (task, 1));
    audit(&db.owner).await;
    Ok(())
}

/// One that stays in a failed transaction would refuse whoever gets the connection next.
#[tokio::test]
async fn an_error_while_money_is_set_aside_leaves_the_session_as_it_was() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "100").await?;
    let task = costly_task(&db.owner, "unlucky", id, "13").await?;
    sqlx::raw_sql(
        "create function public.unlucky() returns trigger language plpgsql as $$
         begin raise exception 'another attempt may do' using errcode = '40P01'; end $$;
         create trigger unlucky before insert on devart.holds
             for each row execute function public.unlucky()",
    )
    .execute(&db.owner)
    .await?;
    let mut session = db.session().await?;
    for _ in 0..2 {
        let refused = claim_funded(&mut session, agent.id, 1).await.map(drop);
        assert_eq!(sqlstate(&refused), "40P01");
        assert_eq!(status(&mut session, task).await?, "TODO");
    }
    Ok(())
}
