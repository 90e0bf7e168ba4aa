//! People decide about tasks that wait for money.

use anyhow::Result;
use serde_json::json;

use super::{approval_of, complete, decide};
use crate::support::budget::{
    audit, budget, charge, claim_funded, costly_task, reserve, service, settle, standing, usd,
};
use crate::support::queue::{create, status};
use crate::support::{Caller, Database, run_sql, sqlstate};

#[tokio::test]
async fn an_approved_task_gets_its_money_and_nobody_else_does() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    charge(&db.owner, id, "1", None).await?;
    let (other, task) = (
        costly_task(&db.owner, "other", id, "2").await?,
        costly_task(&db.owner, "wanted", id, "3").await?,
    );
    assert!(claim_funded(&db.owner, agent.id, 5).await?.is_empty());
    let (approval, _) = approval_of(&db, task).await?;
    assert_eq!(decide(&db, approval, "approve", None).await?, "APPROVED");
    let now = standing(&db.owner, id).await?;
    assert_eq!(
        (now.budget_usd, now.status.as_str()),
        (Some(usd("4")), "ACTIVE"),
        "raised by what was missing"
    );
    db.maintain().await?;
    assert_eq!(status(&db.owner, other).await?, "AWAITING_APPROVAL");
    assert_eq!(reserve(&db.owner, id, "0.01").await?["admitted"], false);
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    assert_eq!((claimed.len(), claimed[0].task_id), (1, task));
    settle(&db.owner, claimed[0].hold_id.expect("a hold"), "3").await?;
    assert_eq!(complete(&db, &claimed[0]).await?, "DONE");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_approval_raises_every_limit_that_stands_in_the_way() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    let task = costly_task(&db.owner, "t", id, "3").await?;
    let limit = budget(&db.owner, "task", task, "2").await?;
    claim_funded(&db.owner, agent.id, 5).await?;
    let (approval, _) = approval_of(&db, task).await?;
    decide(&db, approval, "approve", None).await?;
    let raised: rust_decimal::Decimal =
        sqlx::query_scalar("select budget_usd from devart.budgets where id = $1")
            .bind(limit)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(raised, usd("3"));
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 1);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn another_service_can_be_made_to_pay_and_a_rejected_task_is_cancelled() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (id, other, poor) = (
        service(&db.owner, "model", "1").await?,
        service(&db.owner, "other", "10").await?,
        service(&db.owner, "poor", "1").await?,
    );
    let (first, second) = (
        costly_task(&db.owner, "first", id, "2").await?,
        costly_task(&db.owner, "second", id, "2").await?,
    );
    claim_funded(&db.owner, agent.id, 5).await?;
    let (approval, _) = approval_of(&db, first).await?;
    let unpayable = decide(&db, approval, "substitute", Some(poor)).await;
    assert_eq!(sqlstate(&unpayable), "55000");
    assert_eq!(
        sqlstate(&decide(&db, approval, "substitute", None).await),
        "22023"
    );
    assert_eq!(
        sqlstate(&decide(&db, approval, "approve", Some(other)).await),
        "22023"
    );
    assert_eq!(
        decide(&db, approval, "substitute", Some(other)).await?,
        "APPROVED"
    );
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    assert_eq!((claimed.len(), claimed[0].task_id), (1, first));
    assert_eq!(standing(&db.owner, other).await?.held_usd, usd("2"));
    let (approval, _) = approval_of(&db, second).await?;
    assert_eq!(decide(&db, approval, "reject", None).await?, "REJECTED");
    assert_eq!(status(&db.owner, second).await?, "CANCELLED");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn nobody_raises_their_own_budget_for_what_descends_from_a_task_that_they_deleted()
-> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let author = db.person("supervisor").await?;
    let Caller::Person(author_id) = author else {
        unreachable!()
    };
    budget(&db.owner, "user", author_id, "2").await?;
    let mut session = db.session_as(author).await?;
    let parent = create(
        &mut session,
        json!({"title": "parent", "run_at": "2999-01-01"}),
    )
    .await?;
    let child = create(
        &db.owner,
        json!({
            "title": "child", "parent_task_id": parent, "service_id": id, "estimated_cost_usd": 3,
        }),
    )
    .await?;
    sqlx::query("select devart.delete_task($1)")
        .bind(parent)
        .execute(&mut session)
        .await?;
    assert!(claim_funded(&db.owner, agent.id, 5).await?.is_empty());
    let (approval, _) = approval_of(&db, child).await?;
    let approve = format!("select devart.decide_approval('{approval}', 'approve')");
    assert_eq!(
        sqlstate(&run_sql(&mut session, approve.clone()).await),
        "42501"
    );
    let mut other = db.session_as(db.person("supervisor").await?).await?;
    run_sql(&mut other, approve).await?;
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 1);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn who_made_a_task_above_decides_nothing_also_once_that_one_is_gone() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "1").await?;
    let (author, other) = (
        db.person("supervisor").await?,
        db.person("supervisor").await?,
    );
    let parent = create(
        &mut db.session_as(author).await?,
        json!({"title": "p", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    let child = create(
        &db.owner,
        json!({
            "title": "c", "parent_task_id": parent, "service_id": id,
            "estimated_cost_usd": "50", "priority": "CRITICAL",
        }),
    )
    .await?;
    claim_funded(&db.owner, agent.id, 1).await?;
    let mut supervisor = db.session_as(author).await?;
    let decide = "select devart.decide_approval(a.id, 'approve') from devart.approvals a
                  where a.subject_id = $1 and a.status = 'PENDING'";
    let vote = sqlx::query(decide)
        .bind(child)
        .execute(&mut supervisor)
        .await;
    assert_eq!(sqlstate(&vote), "42501", "beside the task above");
    run_sql(
        &mut supervisor,
        format!("select devart.delete_task('{parent}')"),
    )
    .await?;
    let vote = sqlx::query(decide)
        .bind(child)
        .execute(&mut supervisor)
        .await;
    assert_eq!(sqlstate(&vote), "42501", "after it was deleted");
    let vote = sqlx::query(decide)
        .bind(child)
        .execute(&mut db.session_as(other).await?)
        .await;
    assert_eq!(sqlstate(&vote), "ok");
    Ok(())
}
