//! Tasks that wait for money go on when there is some, and ask nothing once they are gone.

use anyhow::Result;

use super::{approval_of, decide};
use crate::support::budget::{
    audit, charge, claim_funded, costly_task, hold_of, reserve_undispatched, service, settle,
};
use crate::support::queue::status;
use crate::support::{Database, refusal};

#[tokio::test]
async fn tasks_go_on_in_order_when_the_budget_comes_back_as_far_as_it_reaches() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    charge(&db.owner, id, "1", None).await?;
    let mut tasks = Vec::new();
    for (title, estimate) in [("a", "2"), ("b", "5"), ("c", "1"), ("urgent", "1")] {
        tasks.push(costly_task(&db.owner, title, id, estimate).await?);
    }
    sqlx::query("update devart.tasks set priority = 'CRITICAL' where title = 'urgent'")
        .execute(&db.owner)
        .await?;
    assert!(claim_funded(&db.owner, agent.id, 5).await?.is_empty());
    sqlx::query("select devart.increase_budget($1, 4)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    let mut statuses = Vec::new();
    for task in &tasks {
        statuses.push(status(&db.owner, *task).await?);
    }
    assert_eq!(
        statuses,
        ["TODO", "AWAITING_APPROVAL", "TODO", "TODO"],
        "urgent, a and c fit; b does not"
    );
    let open: i64 =
        sqlx::query_scalar("select count(*) from devart.approvals where status = 'PENDING'")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(
        open, 1,
        "nothing is asked any more about those that went on"
    );
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 3);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_release_an_expiry_a_new_window_and_a_raised_substitute_let_waiting_tasks_go()
-> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for way in [
        "release",
        "settle",
        "expiry",
        "window",
        "substitute",
        "edit",
    ] {
        let spare = service(&db.owner, &format!("spare of {way}"), "0").await?;
        let id = service(&db.owner, way, "2").await?;
        sqlx::query("update devart.service_registry set substitute_service_id = $2 where id = $1")
            .bind(id)
            .bind(spare)
            .execute(&db.owner)
            .await?;
        let hold = hold_of(&reserve_undispatched(&db.owner, id, "2").await?);
        let task = costly_task(&db.owner, way, id, "2").await?;
        claim_funded(&db.owner, agent.id, 5).await?;
        assert_eq!(status(&db.owner, task).await?, "AWAITING_APPROVAL");
        match way {
            "release" => {
                sqlx::query("select devart.release_charge($1)")
                    .bind(hold)
                    .execute(&db.owner)
                    .await?;
            }
            "settle" => drop(settle(&db.owner, hold, "0").await?),
            "expiry" => {
                crate::support::budget::expire(&db.owner, hold).await?;
                db.maintain().await?;
            }
            "window" => {
                crate::support::budget::end_window(&db.owner, id).await?;
                db.maintain().await?;
            }
            "substitute" => {
                sqlx::query("select devart.increase_budget($1, 5)")
                    .bind(spare)
                    .execute(&db.owner)
                    .await?;
            }
            _ => {
                sqlx::query("select devart.update_task($1, '{\"estimated_cost_usd\": 0}')")
                    .bind(task)
                    .execute(&db.owner)
                    .await?;
            }
        }
        assert_eq!(status(&db.owner, task).await?, "TODO", "{way}");
        assert_eq!(
            claim_funded(&db.owner, agent.id, 5).await?.len(),
            1,
            "{way}"
        );
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_waiting_task_that_is_cancelled_or_deleted_asks_nothing_any_more() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    let tasks = [
        costly_task(&db.owner, "cancelled", id, "2").await?,
        costly_task(&db.owner, "deleted", id, "2").await?,
    ];
    claim_funded(&db.owner, agent.id, 5).await?;
    let (approval, _) = approval_of(&db, tasks[0]).await?;
    for (function, task) in ["cancel_task", "delete_task"].iter().zip(tasks) {
        let sql = format!("select devart.{function}('{task}')");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&db.owner)
            .await?;
    }
    let open: i64 =
        sqlx::query_scalar("select count(*) from devart.approvals where status = 'PENDING'")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(open, 0);
    assert!(refusal(decide(&db, approval, "approve", None).await).contains("decided"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn many_that_cannot_be_paid_hide_none_that_can() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "5").await?,
    );
    for number in 0..101 {
        costly_task(&db.owner, &format!("large {number}"), id, "1000").await?;
    }
    let small = costly_task(&db.owner, "small", id, "6").await?;
    assert!(claim_funded(&db.owner, agent.id, 200).await?.is_empty());
    assert_eq!(status(&db.owner, small).await?, "AWAITING_APPROVAL");
    sqlx::query("select devart.increase_budget($1, 25)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert_eq!(status(&db.owner, small).await?, "TODO");
    audit(&db.owner).await;
    Ok(())
}
