//! When a hold ends by itself, and what a late settlement does.

use anyhow::Result;
use serde_json::json;

use super::ledger;
use crate::support::budget::{
    amount, audit, charge, expire, hold_of, reserve, reserve_undispatched, service, settle,
    standing, usd,
};
use crate::support::{Database, sqlstate};

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
