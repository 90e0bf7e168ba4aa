//! Many clients, little money: never a cent too much, no deadlock, and the budget is used.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::{
    audit, budget, charge, claim_funded, costly_task, end_window, reserve, reserve_with, service,
    service_with, settle, standing, usd, used,
};

/// More than all of the money is worth in cents.
const MOST_TURNS: usize = 5_000;

/// Whether a limit was ever seen exceeded while `work` ran; looks all the time, on a connection of its own.
async fn watch<T>(
    db: &Database,
    service_id: Uuid,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Decimal)> {
    let mut session = db.session().await?;
    let done = AtomicBool::new(false);
    let watching = async {
        let mut most = Decimal::ZERO;
        while !done.load(Ordering::Relaxed) {
            let now = standing(&mut session, service_id).await?;
            most = most.max(now.spent_usd + now.held_usd);
        }
        Ok(most)
    };
    let working = async {
        let outcome = work.await;
        done.store(true, Ordering::Relaxed);
        outcome
    };
    tokio::try_join!(working, watching)
}

/// Charges, reserves, settles and releases until nothing is left to be had.
async fn spend_all(db: &Database, service_id: Uuid, client: usize) -> Result<()> {
    let mut session = db.session().await?;
    let mut cents = client % 7 + 1;
    for _turn in 0..MOST_TURNS {
        if cents == 0 {
            return Ok(());
        }
        let estimate = format!("0.{cents:02}");
        if !spend(&mut session, service_id, &estimate, cents + client).await? {
            cents -= 1;
        }
    }
    bail!("there is money after {MOST_TURNS} turns of one client")
}

/// One charge, or one hold and its end; false when it was refused.
async fn spend(
    session: &mut PgConnection,
    service_id: Uuid,
    estimate: &str,
    turn: usize,
) -> Result<bool> {
    if turn.is_multiple_of(3) {
        return Ok(charge(&mut *session, service_id, estimate, None).await?["success"] == true);
    }
    let answer = reserve(&mut *session, service_id, estimate).await?;
    if answer["admitted"] != true {
        return Ok(false);
    }
    let hold = answer["hold_id"].as_str().expect("a hold").parse()?;
    settle(&mut *session, hold, estimate).await?;
    Ok(true)
}

async fn race(clients: usize) -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "hot", "20").await?;
    let work = async { try_join_all((0..clients).map(|client| spend_all(&db, id, client))).await };
    let (_, most) = watch(&db, id, work).await?;
    assert!(most <= usd("20"), "{most} was in use at some moment");
    let now = standing(&db.owner, id).await?;
    assert!(
        now.spent_usd <= usd("20") && now.held_usd.is_zero(),
        "{now:?}"
    );
    assert!(
        now.spent_usd >= usd("19.8"),
        "99 % of the limit can be used: {now:?}"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_clients_never_overspend_and_use_what_there_is() -> Result<()> {
    race(16).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_never_overspend_and_use_what_there_is() -> Result<()> {
    race(64).await
}

#[tokio::test]
async fn many_at_once_take_exactly_what_fits() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1").await?;
    let answers = try_join_all((0..200).map(|_| charge(&db.owner, id, "0.013", None))).await?;
    let accepted = answers
        .iter()
        .filter(|answer| answer["success"] == true)
        .count();
    assert_eq!(accepted, 76, "76 times 0.013 is the most that fits into 1");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_eight_hundred_times_at_once_charges_and_holds_once() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "100").await?;
    let eight_times = async |client: usize| -> Result<Vec<(Value, Value)>> {
        let mut session = db.session().await?;
        let mut answers = Vec::new();
        for _ in 0..8 {
            let request = json!({"estimate_usd": 2, "idempotency_key": "hold"});
            let (first, second) = match client % 2 {
                0 => (
                    charge(&mut session, id, "3", Some("charge")).await?,
                    reserve_with(&mut session, id, request).await?,
                ),
                _ => {
                    let hold = reserve_with(&mut session, id, request).await?;
                    (charge(&mut session, id, "3", Some("charge")).await?, hold)
                }
            };
            answers.push((first, second));
        }
        Ok(answers)
    };
    let answers = try_join_all((0..100).map(eight_times)).await?.concat();
    assert_eq!(answers.len(), 800);
    assert!(
        answers.iter().all(|answer| answer == &answers[0]),
        "every answer is the first one's"
    );
    let now = standing(&db.owner, id).await?;
    assert_eq!((now.spent_usd, now.held_usd), (usd("3"), usd("2")));
    audit(&db.owner).await;
    Ok(())
}

/// Services that stand in for each other in opposite orders of their ids, under the limits of agents, with windows that end, holds that
/// expire, budgets that are raised, claims in batches and maintenance: any deadlock would be an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_never_deadlocks_and_adds_up() -> Result<()> {
    let db = Database::create().await?;
    let mut services = Vec::new();
    for n in 0..6 {
        services.push(
            service_with(
                &db.owner,
                json!({"name": n.to_string(), "budget_usd": 3, "period": "day"}),
            )
            .await?,
        );
    }
    for (from, to) in [(0, 5), (5, 1), (1, 4), (4, 2), (3, 2)] {
        sqlx::query("update devart.service_registry set substitute_service_id = $2 where id = $1")
            .bind(services[from])
            .bind(services[to])
            .execute(&db.owner)
            .await?;
    }
    let mut agents = Vec::new();
    let mut limits = Vec::new();
    for _ in 0..8 {
        let agent = db.agent(&[]).await?;
        limits.push(budget(&db.owner, "agent", agent.id, "2").await?);
        agents.push(agent);
    }
    for n in 0..60 {
        costly_task(&db.owner, "t", services[n % 6], "0.05").await?;
    }
    let client = async |client: usize| -> Result<()> {
        let agent = &agents[client % 8];
        let mut session = db.session_as(agent.caller()).await?;
        let mut operator = db.session().await?;
        for turn in 0..30 {
            let service_id = services[(client + turn) % 6];
            match (client + turn * 7) % 10 {
                0..=2 => drop(charge(&mut session, service_id, "0.04", None).await?),
                3..=5 => {
                    let answer = reserve(&mut session, service_id, "0.05").await?;
                    if let Some(hold) = answer["hold_id"].as_str() {
                        if turn % 3 == 0 {
                            crate::support::budget::expire(&mut operator, hold.parse()?).await?;
                        } else {
                            settle(&mut session, hold.parse()?, "0.06").await?;
                        }
                    }
                }
                6 => {
                    for task in claim_funded(&mut operator, agent.id, 4).await? {
                        sqlx::query("select devart.complete_task($1, $2)")
                            .bind(task.task_id)
                            .bind(task.lease_token)
                            .execute(&mut operator)
                            .await?;
                    }
                }
                7 => end_window(&mut operator, service_id).await?,
                8 => {
                    sqlx::query("select devart.increase_budget($1, 0.1)")
                        .bind(service_id)
                        .execute(&mut operator)
                        .await?;
                }
                _ => {
                    sqlx::query("select devart_private.maintain()")
                        .execute(&mut operator)
                        .await?;
                }
            }
        }
        Ok(())
    };
    try_join_all((0..32).map(client)).await?;
    for limit in limits {
        let (spent, held) = used(&db.owner, limit).await?;
        // Each settlement is 0.01 above its hold, which is the truth and not refused.
        assert!(spent + held <= usd("2.3"), "{spent} {held}");
    }
    audit(&db.owner).await;
    Ok(())
}
