//! An agent that dies after its call has spent the money: what was dispatched and never settled
//! counts as spent, and a settlement that comes late corrects it once.

mod provider;

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{
    alerts, amount, audit, budget, claim_funded, costly_task, end_window, expire, hold_of,
    mark_dispatched, release, reserve, reserve_undispatched, reserve_with, service, service_with,
    settle, standing, usd, used,
};
use crate::support::queue::{claim, create, expire_lease};
use crate::support::wait::eventually;
use crate::support::{Database, sqlstate};

async fn ledger(db: &Database, hold_id: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select concat_ws(' ', kind, trim_scale(amount_usd), reason) from devart.charges
         where hold_id = $1 order by id",
    )
    .bind(hold_id)
    .fetch_all(&db.owner)
    .await
}

/// The hold of a dispatched call whose time is up, which maintenance has seen.
async fn presumed(db: &Database, service_id: Uuid, estimate: &str) -> Result<Uuid> {
    let hold = hold_of(&reserve(&db.owner, service_id, estimate).await?);
    expire(&db.owner, hold).await?;
    db.maintain().await?;
    Ok(hold)
}

#[tokio::test]
async fn what_nobody_settles_is_spent_and_a_late_settlement_corrects_it_once_up_or_down()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "20").await?;
    for (cost, overage, adjustment) in [("3", "0", "-1"), ("5.5", "1.5", "1.5")] {
        let before = standing(&db.owner, id).await?.spent_usd;
        let hold = presumed(&db, id, "4").await?;
        let now = standing(&db.owner, id).await?;
        assert_eq!((now.spent_usd - before, now.held_usd), (usd("4"), usd("0")));
        assert!(!release(&db.owner, hold).await?, "it is spent");
        let late = settle(&db.owner, hold, cost).await?;
        assert_eq!(
            (&late["late"], &late["presumed"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(amount(&late, "charged_usd"), usd(cost));
        assert_eq!(amount(&late, "overage_usd"), usd(overage));
        assert_eq!(settle(&db.owner, hold, cost).await?, late);
        assert_eq!(sqlstate(&settle(&db.owner, hold, "1").await), "55000");
        let spent = standing(&db.owner, id).await?.spent_usd - before;
        assert_eq!(spent, usd(cost), "once");
        let adjusted = format!("adjustment {adjustment} settled late");
        assert_eq!(
            ledger(&db, hold).await?,
            ["hold 4", "settle 4 presumed", &adjusted]
        );
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_late_cost_that_is_what_was_presumed_changes_nothing() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    for cost in ["0", "4"] {
        let hold = presumed(&db, id, cost).await?;
        let late = settle(&db.owner, hold, cost).await?;
        assert_eq!(late["presumed"], true, "{cost}");
        let rows = [format!("hold {cost}"), format!("settle {cost} presumed")];
        assert_eq!(ledger(&db, hold).await?, rows);
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn killing_agents_does_not_overspend_a_budget() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let limit = budget(&db.owner, "agent", agent.id, "10").await?;
    let mut session = db.session_as(agent.caller()).await?;
    let mut calls = 0;
    loop {
        let answer = reserve_with(&mut session, id, json!({"estimate_usd": 3})).await?;
        if answer["admitted"] != true {
            break;
        }
        calls += 1;
        expire(&db.owner, hold_of(&answer)).await?;
        db.maintain().await?;
    }
    assert_eq!(calls, 3);
    assert_eq!(used(&db.owner, limit).await?, (usd("9"), usd("0")));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn presumed_spending_suspends_and_alerts_and_the_truth_ends_the_suspension() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "4").await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let hold = presumed(&db, id, "4").await?;
    assert_eq!(standing(&db.owner, id).await?.status, "SUSPENDED");
    assert_eq!(alerts(&db.owner).await?.len(), 1);
    let waiting = costly_task(&db.owner, "waiting", id, "1").await?;
    let agent = db.agent(&[]).await?;
    assert!(claim_funded(&db.owner, agent.id, 1).await?.is_empty());
    let late = settle(&db.owner, hold, "1").await?;
    assert_eq!(
        (&late["suspended"], amount(&late, "remaining_usd")),
        (&json!(false), usd("3"))
    );
    assert_eq!(standing(&db.owner, id).await?.status, "ACTIVE");
    let claimed = claim_funded(&db.owner, agent.id, 1).await?;
    assert_eq!(claimed[0].task_id, waiting, "its money is there again");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn presumed_and_adjusted_amounts_go_into_the_window_that_admitted_the_hold() -> Result<()> {
    let db = Database::create().await?;
    let id = service_with(
        &db.owner,
        json!({"name": "daily", "budget_usd": 10, "period": "day"}),
    )
    .await?;
    let hold = hold_of(&reserve(&db.owner, id, "4").await?);
    end_window(&db.owner, id).await?;
    reserve(&db.owner, id, "1").await?;
    expire(&db.owner, hold).await?;
    db.maintain().await?;
    let closed = async || -> sqlx::Result<String> {
        sqlx::query_scalar(
            "select concat_ws(' ', trim_scale(spent_usd), trim_scale(held_usd))
             from devart.budget_windows",
        )
        .fetch_one(&db.owner)
        .await
    };
    assert_eq!(closed().await?, "4 0");
    settle(&db.owner, hold, "2.5").await?;
    assert_eq!(closed().await?, "2.5 0");
    let now = standing(&db.owner, id).await?;
    assert_eq!((now.spent_usd, now.held_usd), (usd("0"), usd("1")));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_hold_is_dispatched_once_it_is_said_so_and_as_long_as_it_is_not_over() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve_undispatched(&db.owner, id, "4").await?);
    assert!(mark_dispatched(&db.owner, hold).await?);
    assert!(mark_dispatched(&db.owner, hold).await?, "it is already");
    expire(&db.owner, hold).await?;
    assert!(!mark_dispatched(&db.owner, hold).await?, "its time is up");
    db.maintain().await?;
    assert!(!mark_dispatched(&db.owner, hold).await?);
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("4"));
    for end in ["settled", "released", "expired"] {
        let hold = hold_of(&reserve_undispatched(&db.owner, id, "1").await?);
        match end {
            "settled" => drop(settle(&db.owner, hold, "1").await?),
            "released" => drop(release(&db.owner, hold).await?),
            _ => expire(&db.owner, hold).await?,
        }
        assert!(!mark_dispatched(&db.owner, hold).await?, "{end}");
    }
    let unknown = mark_dispatched(&db.owner, Uuid::now_v7()).await;
    assert_eq!(sqlstate(&unknown), "P0002");
    let other = db.agent(&[]).await?;
    let mut session = db.session_as(other.caller()).await?;
    let forbidden = mark_dispatched(&mut session, hold).await;
    assert_eq!(sqlstate(&forbidden), "42501");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_claims_hold_is_given_back_unless_its_agent_took_it_up() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    for (marks, spent) in [(false, "0"), (true, "2")] {
        let task_id = costly_task(&db.owner, "t", id, "2").await?;
        let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
        let hold = task.hold_id.expect("a hold");
        if marks {
            let sql = "select devart.mark_dispatched($1, $2)";
            let stale = sqlx::query(sql)
                .bind(hold)
                .bind(Uuid::now_v7())
                .execute(&db.owner)
                .await;
            assert_eq!(sqlstate(&stale), "55P03");
            let marked: bool = sqlx::query_scalar(sql)
                .bind(hold)
                .bind(task.lease_token)
                .fetch_one(&db.owner)
                .await?;
            assert!(marked);
        }
        expire_lease(&db.owner, task_id).await?;
        db.maintain().await?;
        db.maintain().await?;
        let now = standing(&db.owner, id).await?;
        assert_eq!((now.spent_usd, now.held_usd), (usd(spent), usd("0")));
        assert!(
            !mark_dispatched(&db.owner, hold).await?,
            "the lease is lost"
        );
        sqlx::query("select devart.cancel_task($1)")
            .bind(task_id)
            .execute(&db.owner)
            .await?;
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_hold_of_a_live_lease_can_be_dispatched_after_its_own_time() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    costly_task(&db.owner, "long", id, "2").await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let hold = task.hold_id.expect("a hold");
    for dispatched in [false, true] {
        expire(&db.owner, hold).await?;
        if dispatched {
            db.maintain().await?;
        }
        assert!(mark_dispatched(&db.owner, hold).await?);
    }
    assert_eq!(settle(&db.owner, hold, "1").await?["late"], false);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_an_agent_had_dispatched_is_spent_when_its_task_ends_or_it_is_deactivated()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "100").await?;
    let agent = db.agent(&[]).await?;
    let mut session = db.session_as(agent.caller()).await?;
    let mut spent = usd("0");
    for end in ["complete", "cancel", "deactivate"] {
        let task_id = create(&db.owner, json!({"title": end, "service_id": id})).await?;
        let task = claim(&db.owner, agent.id).await?.expect("a task");
        let request = json!({"estimate_usd": 2, "task_id": task_id});
        let hold = hold_of(&reserve_with(&mut session, id, request).await?);
        let sql = match end {
            "complete" => format!(
                "select devart.complete_task('{task_id}', '{}')",
                task.lease_token
            ),
            "deactivate" => format!("select devart.set_agent_activation('{}', false)", agent.id),
            end => format!("select devart.{end}_task('{task_id}')"),
        };
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&db.owner)
            .await?;
        db.maintain().await?;
        spent += usd("2");
        let now = standing(&db.owner, id).await?;
        assert_eq!((now.spent_usd, now.held_usd), (spent, usd("0")), "{end}");
        assert_eq!(ledger(&db, hold).await?[1], "settle 2 presumed", "{end}");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn over_http_a_hold_waits_for_its_call_and_says_when_it_was_presumed() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let api = Api::start(&db).await?;
    let http = api.agent(&agent);
    let body = json!({"service_id": id, "estimate_usd": 4, "dispatched": false});
    let held = http.post("/api/tasks/dispatch", body).await?.expect(200);
    let hold = hold_of(&held);
    let path = format!("/api/charges/{hold}");
    let dispatched = http
        .post(&format!("{path}/dispatched"), json!({}))
        .await?
        .expect(200);
    assert_eq!(dispatched, json!({"dispatched": true}));
    expire(&db.owner, hold).await?;
    // The API does periodic work, too, so ours may find it busy.
    eventually("the hold is presumed spent", async || {
        db.maintain().await.ok()?;
        let spent = standing(&db.owner, id).await.ok()?.spent_usd;
        (spent == usd("4")).then_some(())
    })
    .await;
    let over = http
        .post(&format!("{path}/dispatched"), json!({}))
        .await?
        .expect(200);
    assert_eq!(over, json!({"dispatched": false}));
    let late = http
        .post(&format!("{path}/settle"), json!({"amount_usd": 1}))
        .await?
        .expect(200);
    assert_eq!(
        (&late["late"], &late["presumed"]),
        (&json!(true), &json!(true))
    );
    let unknown = format!("/api/charges/{}/dispatched", Uuid::now_v7());
    let refused = http.post(&unknown, json!({})).await?;
    assert_eq!(refused.problem(404), "not_found");
    let text: Value = json!({"lease_token": "x"});
    let malformed = http.post(&format!("{path}/dispatched"), text).await?;
    assert!((400..500).contains(&malformed.status), "{}", malformed.text);
    audit(&db.owner).await;
    Ok(())
}
