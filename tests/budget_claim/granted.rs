//! Granted money belongs to the service and the amount that people granted it for.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{approval_of, decide};
use crate::support::budget::{
    audit, budget, charge, claim_funded, costly_task, hold_of, service, standing, usd, used,
};
use crate::support::queue::{create, status};
use crate::support::{Agent, Database};

/// A task of 50 US dollars at a service that has 1, and whose money people granted.
struct Granted {
    db: Database,
    agent: Agent,
    service_id: Uuid,
    task_id: Uuid,
}

impl Granted {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let agent = db.agent(&[]).await?;
        let service_id = service(&db.owner, "P", "1").await?;
        let task_id = costly_task(&db.owner, "t", service_id, "50").await?;
        assert!(claim_funded(&db.owner, agent.id, 1).await?.is_empty());
        let (approval, _) = approval_of(&db, task_id).await?;
        decide(&db, approval, "approve", None).await?;
        assert_eq!(standing(&db.owner, service_id).await?.held_usd, usd("50"));
        Ok(Self {
            db,
            agent,
            service_id,
            task_id,
        })
    }

    async fn edit(&self, changes: &Value) -> Result<()> {
        sqlx::query("select devart.update_task($1, $2)")
            .bind(self.task_id)
            .bind(changes)
            .execute(&self.db.owner)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn an_edit_of_service_or_amount_voids_what_was_granted() -> Result<()> {
    for (member, amount) in [
        ("both", "900"),
        ("amount", "900"),
        ("amount", "10"),
        ("service", "50"),
    ] {
        let granted = Granted::create().await?;
        let db = &granted.db;
        let other = service(&db.owner, "Q", "1").await?;
        let service_id = if member == "amount" {
            granted.service_id
        } else {
            other
        };
        let estimate: f64 = amount.parse()?;
        granted
            .edit(&json!({"service_id": service_id, "estimated_cost_usd": estimate}))
            .await?;
        assert_eq!(
            standing(&db.owner, granted.service_id).await?.held_usd,
            usd("0"),
            "{member} {amount}: nobody waits a day for what nobody takes up"
        );
        let claimed = claim_funded(&db.owner, granted.agent.id, 1).await?;
        let held = standing(&db.owner, service_id).await?.held_usd;
        match (member, amount) {
            // The limit was raised for 50, so 10 are there.
            ("amount", "10") => assert_eq!((claimed.len(), held), (1, usd("10"))),
            _ => {
                assert!(claimed.is_empty(), "{member} {amount}");
                assert_eq!(
                    status(&db.owner, granted.task_id).await?,
                    "AWAITING_APPROVAL"
                );
            }
        }
        audit(&db.owner).await;
    }
    Ok(())
}

#[tokio::test]
async fn an_edit_by_hand_and_one_of_anything_else_are_told_apart() -> Result<()> {
    let granted = Granted::create().await?;
    let db = &granted.db;
    granted.edit(&json!({"title": "another title"})).await?;
    assert_eq!(
        standing(&db.owner, granted.service_id).await?.held_usd,
        usd("50")
    );
    let mut people = db.session_as(db.person("supervisor").await?).await?;
    sqlx::query("update devart.tasks set estimated_cost_usd = 900 where id = $1")
        .bind(granted.task_id)
        .execute(&mut people)
        .await?;
    assert_eq!(
        standing(&db.owner, granted.service_id).await?.held_usd,
        usd("0")
    );
    assert!(
        claim_funded(&db.owner, granted.agent.id, 1)
            .await?
            .is_empty()
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_claim_takes_no_hold_that_was_granted_for_another_service_or_for_less() -> Result<()> {
    let granted = Granted::create().await?;
    let db = &granted.db;
    let other = service(&db.owner, "Q", "1").await?;
    for sql in [
        "update devart.holds set amount_usd = 49",
        "update devart.holds set amount_usd = 50, delegated_from = $1",
    ] {
        let mut owner = db.session().await?;
        let mut transaction = sqlx::Connection::begin(&mut owner).await?;
        let query = sqlx::query(sql);
        let query = if sql.contains("$1") {
            query.bind(other)
        } else {
            query
        };
        query.execute(&mut *transaction).await?;
        let claimed = claim_funded(&mut *transaction, granted.agent.id, 1).await?;
        assert!(claimed.is_empty(), "{sql}");
        transaction.rollback().await?;
    }
    assert_eq!(claim_funded(&db.owner, granted.agent.id, 1).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_replayed_dispatch_gives_back_nothing_that_was_granted_since() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (db.agent(&[]).await?, service(&db.owner, "P", "10").await?);
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let mut session = db.session_as(agent.caller()).await?;
    let mut dispatch = async |estimate: &str, key: &str, task: Uuid| -> sqlx::Result<Value> {
        sqlx::query_scalar("select devart.dispatch_task($1, $2, null, $3, idempotency_key => $4)")
            .bind(id)
            .bind(usd(estimate))
            .bind(task)
            .bind(key)
            .fetch_one(&mut session)
            .await
    };
    let first = dispatch("1", "old", task.task_id).await?;
    assert_eq!(
        dispatch("50", "new", task.task_id).await?["admitted"],
        false
    );
    let (approval, _) = approval_of(&db, task.task_id).await?;
    decide(&db, approval, "approve", None).await?;
    claim_funded(&db.owner, agent.id, 1).await?;
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("51"));
    assert_eq!(dispatch("1", "old", task.task_id).await?, first);
    assert_eq!(
        standing(&db.owner, id).await?.held_usd,
        usd("51"),
        "the granted 50 stay"
    );
    hold_of(&dispatch("50", "new", task.task_id).await?);
    assert_eq!(
        standing(&db.owner, id).await?.held_usd,
        usd("51"),
        "and are not held twice"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_grant_for_one_service_is_not_given_back_for_a_call_of_another() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (p, q) = (
        service(&db.owner, "P", "1").await?,
        service(&db.owner, "Q", "100").await?,
    );
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let dispatch = async |service_id: Uuid, estimate: &str| -> sqlx::Result<Value> {
        sqlx::query_scalar("select devart.dispatch_task($1, $2, null, $3)")
            .bind(service_id)
            .bind(usd(estimate))
            .bind(task.task_id)
            .fetch_one(&db.owner)
            .await
    };
    assert_eq!(dispatch(p, "50").await?["admitted"], false);
    let (approval, _) = approval_of(&db, task.task_id).await?;
    decide(&db, approval, "approve", None).await?;
    claim_funded(&db.owner, agent.id, 1).await?;
    hold_of(&dispatch(q, "2").await?);
    assert_eq!(standing(&db.owner, p).await?.held_usd, usd("50"));
    hold_of(&dispatch(p, "50").await?);
    assert_eq!(standing(&db.owner, p).await?.held_usd, usd("50"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_another_service_was_made_to_pay_is_taken_up_by_the_claim() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (p, q) = (
        service(&db.owner, "P", "1").await?,
        service(&db.owner, "Q", "60").await?,
    );
    let task_id = costly_task(&db.owner, "t", p, "50").await?;
    let limit = budget(&db.owner, "task", task_id, "60").await?;
    claim_funded(&db.owner, agent.id, 1).await?;
    let (approval, _) = approval_of(&db, task_id).await?;
    decide(&db, approval, "substitute", Some(q)).await?;
    charge(&db.owner, q, "5", None).await?;
    let claimed = claim_funded(&db.owner, agent.id, 1).await?;
    assert_eq!(
        (claimed.len(), used(&db.owner, limit).await?.1),
        (1, usd("50"))
    );
    assert_eq!(standing(&db.owner, q).await?.held_usd, usd("50"));
    audit(&db.owner).await;
    Ok(())
}
