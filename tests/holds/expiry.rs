//! When a hold ends by itself, and what a late settlement does.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::Connection;

use super::ledger;
use crate::support::budget::{
    amount, audit, charge, claim_funded, costly_task, expire, hold_of, reserve,
    reserve_undispatched, service, settle, standing, usd,
};
use crate::support::queue::{claim, create};
use crate::support::{Caller, Database, sqlstate};

#[tokio::test]
async fn an_expired_hold_whose_call_did_not_go_out_is_given_back_and_a_late_cost_recorded_once()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve_undispatched(&db.owner, id, "4").await?);
    expire(&db.owner, hold).await?;
    assert_eq!(db.maintain().await?["holds_expired"], 1);
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("0"));
    let late = settle(&db.owner, hold, "3").await?;
    assert_eq!(
        (&late["late"], &late["presumed"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(amount(&late, "overage_usd"), usd("3"));
    assert_eq!(settle(&db.owner, hold, "3").await?, late);
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("3"));
    assert_eq!(
        ledger(&db, hold).await?,
        ["hold 4", "release 4", "overage 3"]
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn whoever_needs_the_money_of_such_a_hold_gets_it_without_waiting_for_maintenance()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve_undispatched(&db.owner, id, "9").await?);
    assert_eq!(reserve(&db.owner, id, "5").await?["admitted"], false);
    expire(&db.owner, hold).await?;
    assert_eq!(reserve(&db.owner, id, "5").await?["admitted"], true);
    assert_eq!(charge(&db.owner, id, "5", None).await?["success"], true);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_hold_lasts_as_long_as_it_was_asked_to() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let lasts: Vec<bool> = sqlx::query_scalar(
        "select (devart.reserve_charge($1, 1, ttl => t) ->> 'expires_at')::timestamptz - clock_timestamp()
            between t - interval '5 s' and t
         from unnest('{1 hour,1 minute,10 minutes}'::interval[]) t",
    )
    .bind(id)
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(lasts, [true; 3]);
    for ttl in ["0", "-1 s", "31 days"] {
        let refused = sqlx::query("select devart.reserve_charge($1, 1, ttl => $2::text::interval)")
            .bind(id)
            .bind(ttl)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&refused), "22023", "{ttl}");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn holds_of_living_leases_stay_however_many_come_due_together() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "250").await?;
    for number in 0..150 {
        costly_task(&db.owner, &format!("t {number}"), id, "1").await?;
    }
    assert_eq!(claim_funded(&db.owner, agent.id, 150).await?.len(), 150);
    let due = "update devart.holds set expires_at = clock_timestamp() - interval '1 s'";
    sqlx::query(due).execute(&db.owner).await?;
    assert_eq!(reserve(&db.owner, id, "101").await?["admitted"], false);
    sqlx::query(due).execute(&db.owner).await?;
    let released: i32 = sqlx::query_scalar("select devart_private.expire_holds(10)")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(released, 0);
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("150"));
    audit(&db.owner).await;
    Ok(())
}

/// An agent's reservation for its task, not yet committed while somebody ends what it is for.
async fn reserve_while(db: &Database, ending: &str) -> Result<()> {
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, ending, "100").await?;
    create(&db.owner, json!({"title": ending})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    let mut session = db.session_as(Caller::Agent(agent.id)).await?;
    let mut transaction = session.begin().await?;
    let hold: Value = sqlx::query_scalar(
        "select devart.reserve_charge($1, 99, task_id => $2, lease_token => $3, ttl => '30 days')",
    )
    .bind(id)
    .bind(claimed.task_id)
    .bind(claimed.lease_token)
    .fetch_one(&mut *transaction)
    .await?;
    assert_eq!(hold["admitted"], true, "{hold}");
    sqlx::query(sqlx::AssertSqlSafe(ending.to_owned()))
        .bind(agent.id)
        .bind(claimed.task_id)
        .execute(&db.owner)
        .await?;
    transaction.commit().await?;
    db.maintain().await?;
    assert_eq!(
        standing(&db.owner, id).await?.held_usd,
        usd("0"),
        "{ending}"
    );
    Ok(())
}

#[tokio::test]
async fn a_hold_that_was_just_being_made_ends_with_its_agent_or_task() -> Result<()> {
    let db = Database::create().await?;
    for ending in [
        "select devart.set_agent_activation($1, false), $2::uuid",
        "select devart.cancel_task($2), $1::uuid",
    ] {
        reserve_while(&db, ending).await?;
    }
    audit(&db.owner).await;
    Ok(())
}
