//! How long the hold of a claim lasts.

use anyhow::Result;

use super::complete;
use crate::support::Database;
use crate::support::budget::{
    audit, claim_funded, costly_task, hold_of, reserve, service, settle, standing, usd,
};
use crate::support::queue::expire_lease;

#[tokio::test]
async fn the_money_of_a_finished_failed_or_lost_task_is_free_again() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "2").await?,
    );
    for ending in ["done", "failed", "lost", "cancelled"] {
        costly_task(&db.owner, ending, id, "2").await?;
        let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
        assert_eq!(
            reserve(&db.owner, id, "2").await?["admitted"],
            false,
            "{ending}"
        );
        match ending {
            "done" => drop(complete(&db, &task).await?),
            "failed" => {
                sqlx::query("select devart.report_task_failure($1, $2, 'e', false)")
                    .bind(task.task_id)
                    .bind(task.lease_token)
                    .execute(&db.owner)
                    .await?;
            }
            "lost" => {
                expire_lease(&db.owner, task.task_id).await?;
                db.maintain().await?;
                sqlx::query("select devart.cancel_task($1)")
                    .bind(task.task_id)
                    .execute(&db.owner)
                    .await?;
            }
            _ => {
                sqlx::query("select devart.cancel_task($1)")
                    .bind(task.task_id)
                    .execute(&db.owner)
                    .await?;
            }
        }
        let hold = hold_of(&reserve(&db.owner, id, "2").await?);
        sqlx::query("select devart.release_charge($1)")
            .bind(hold)
            .execute(&db.owner)
            .await?;
        let late = settle(&db.owner, task.hold_id.expect("a hold"), "0.25").await?;
        assert_eq!(late["late"], true, "the truth is still recorded");
        sqlx::query("update devart.service_registry set budget_usd = spent_usd + 2")
            .execute(&db.owner)
            .await?;
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_hold_of_a_claim_lasts_as_long_as_its_worker_keeps_the_task() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "2").await?,
    );
    costly_task(&db.owner, "long", id, "2").await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let hold = task.hold_id.expect("a hold");
    crate::support::budget::expire(&db.owner, hold).await?;
    db.maintain().await?;
    assert_eq!(
        reserve(&db.owner, id, "1").await?["admitted"],
        false,
        "it still works on it"
    );
    expire_lease(&db.owner, task.task_id).await?;
    db.maintain().await?;
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("0"));
    audit(&db.owner).await;
    Ok(())
}
