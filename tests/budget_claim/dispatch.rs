//! Tasks under way that ask for money and get none.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{approval_of, complete, decide};
use crate::support::budget::{
    Funded, audit, claim_funded, hold_of, service, settle, standing, usd,
};
use crate::support::queue::{create, history, status};
use crate::support::{Database, sqlstate};

async fn dispatch(
    db: &Database,
    service_id: Uuid,
    task: &Funded,
    estimate: &str,
    ask: bool,
) -> sqlx::Result<Value> {
    sqlx::query_scalar(
        "select devart.dispatch_task($1, $2, task_id => $3, lease_token => $4, ask => $5)",
    )
    .bind(service_id)
    .bind(usd(estimate))
    .bind(task.task_id)
    .bind(task.lease_token)
    .bind(ask)
    .fetch_one(&db.owner)
    .await
}

#[tokio::test]
async fn a_task_whose_dispatch_is_refused_pauses_asks_and_goes_on_when_people_agree() -> Result<()>
{
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let told = dispatch(&db, id, &task, "3", false).await?;
    assert_eq!(
        (
            &told["admitted"],
            status(&db.owner, task.task_id).await?.as_str()
        ),
        (&json!(false), "IN_PROGRESS")
    );
    let refused = dispatch(&db, id, &task, "3", true).await?;
    assert_eq!(
        (&refused["admitted"], &refused["task_status"]),
        (&json!(false), &json!("AWAITING_APPROVAL"))
    );
    assert_eq!(
        sqlstate(&dispatch(&db, id, &task, "3", true).await),
        "55P03",
        "the lease is over"
    );
    let (approval, _) = approval_of(&db, task.task_id).await?;
    assert_eq!(refused["approval_id"], json!(approval));
    decide(&db, approval, "approve", None).await?;
    let again = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    assert_eq!((again.task_id, again.attempt), (task.task_id, 2));
    let admitted = dispatch(&db, id, &again, "3", true).await?;
    let hold = hold_of(&admitted);
    assert_eq!(
        standing(&db.owner, id).await?.held_usd,
        usd("3"),
        "what was granted is not held twice"
    );
    settle(&db.owner, hold, "3").await?;
    assert_eq!(complete(&db, &again).await?, "DONE");
    assert_eq!(
        history(&db.owner, task.task_id).await?,
        [
            "TODO",
            "IN_PROGRESS",
            "AWAITING_APPROVAL",
            "TODO",
            "IN_PROGRESS",
            "DONE"
        ]
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_unknown_price_does_not_make_a_task_wait() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let refused: Value = sqlx::query_scalar(
        "select devart.dispatch_task($1, usage => '{\"token\": 5}', task_id => $2, lease_token => $3)",
    )
    .bind(id)
    .bind(task.task_id)
    .bind(task.lease_token)
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(refused["code"], "price_unknown");
    assert_eq!(status(&db.owner, task.task_id).await?, "IN_PROGRESS");
    audit(&db.owner).await;
    Ok(())
}
