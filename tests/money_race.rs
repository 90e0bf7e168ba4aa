//! 64 clients reserve, extend, settle, vanish and correct against shared limits: never a cent over
//! by admission, no deadlock, and everything adds up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::{
    audit, budget, correct, expire, extend, mark_dispatched, release, service_with, settle, usd,
};
use crate::support::queue::{claim, create};

const CLIENTS: usize = 64;
const TURNS: usize = 25;

/// Three services in a chain, and four agents with budgets and a task each that has one, too.
struct World {
    db: Database,
    services: Vec<Uuid>,
    workers: Vec<(Uuid, Uuid)>,
}

impl World {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        // Nobody loses a task, and with it its holds, on a slow machine.
        db.set("lease_seconds", json!(86_400)).await?;
        let mut services: Vec<Uuid> = Vec::new();
        for name in ["last", "second", "first"] {
            let columns = json!({
                "name": name, "budget_usd": 3, "substitute_service_id": services.last(),
            });
            services.push(service_with(&db.owner, columns).await?);
        }
        let mut workers = Vec::new();
        for title in ["a", "b", "c", "d"] {
            let agent = db.agent(&[]).await?.id;
            let task = create(&db.owner, json!({"title": title})).await?;
            claim(&db.owner, agent).await?;
            budget(&db.owner, "agent", agent, "4").await?;
            budget(&db.owner, "task", task, "3").await?;
            workers.push((agent, task));
        }
        Ok(Self {
            db,
            services,
            workers,
        })
    }

    async fn client(&self, number: usize) -> Result<()> {
        let (_, task) = self.workers[number % self.workers.len()];
        let mut session = self.db.session().await?;
        for turn in 0..TURNS {
            let service = self.services[(number + turn) % self.services.len()];
            let dispatched = turn.is_multiple_of(2);
            if let Some(hold) = reserve(&mut session, service, task, dispatched).await? {
                use_up(&mut session, hold, number + turn * 7).await?;
            }
        }
        Ok(())
    }

    /// The most that any limit was ever over.
    async fn watch(&self, done: &AtomicBool) -> Result<Decimal> {
        let mut session = self.db.session().await?;
        let mut most = Decimal::MIN;
        while !done.load(Ordering::Relaxed) {
            let over: Decimal = sqlx::query_scalar(
                "select max(l.used - l.budget_usd) from (
                     select spent_usd + held_usd as used, budget_usd from devart.service_registry
                     union all
                     select spent_usd + held_usd, budget_usd from devart.budgets) l",
            )
            .fetch_one(&mut session)
            .await?;
            most = most.max(over);
        }
        Ok(most)
    }
}

async fn reserve(
    session: &mut PgConnection,
    service: Uuid,
    task: Uuid,
    dispatched: bool,
) -> Result<Option<Uuid>> {
    let answer: Value = sqlx::query_scalar(
        "select devart.reserve_charge($1, 0.05, task_id => $2, dispatched => $3)",
    )
    .bind(service)
    .bind(task)
    .bind(dispatched)
    .fetch_one(session)
    .await?;
    let hold = answer["hold_id"].as_str().map(str::parse).transpose()?;
    Ok(hold)
}

/// What becomes of a hold. Never more than is held: by admission nothing goes over.
async fn use_up(session: &mut PgConnection, hold: Uuid, choice: usize) -> Result<()> {
    match choice % 10 {
        0 | 1 => drop(settle(session, hold, "0.05").await?),
        2 => {
            let held = match extend(&mut *session, hold, "0.03").await?["admitted"] == true {
                true => "0.08",
                false => "0.05",
            };
            settle(session, hold, held).await?;
        }
        3 => drop(release(session, hold).await?),
        4 => {
            settle(&mut *session, hold, "0.04").await?;
            correct(session, hold, "0.01").await?;
        }
        5 => drop(mark_dispatched(session, hold).await?),
        6 => expire(session, hold).await?,
        7 => {
            mark_dispatched(&mut *session, hold).await?;
            expire(&mut *session, hold).await?;
            sqlx::query("select devart_private.maintain()")
                .execute(&mut *session)
                .await?;
            settle(session, hold, "0.02").await?;
        }
        // Vanished.
        _ => (),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_over_a_limit_and_nobody_waits_in_a_circle() -> Result<()> {
    let world = World::create().await?;
    let done = AtomicBool::new(false);
    let working = async {
        let outcome = try_join_all((0..CLIENTS).map(|client| world.client(client))).await;
        done.store(true, Ordering::Relaxed);
        outcome
    };
    let (_, most) = tokio::try_join!(working, world.watch(&done))?;
    ensure!(most <= usd("0"), "a limit was exceeded by {most}");
    audit(&world.db.owner).await;
    sqlx::query("update devart.holds set expires_at = now() where status = 'HELD'")
        .execute(&world.db.owner)
        .await?;
    world.db.maintain().await?;
    let open: i64 = sqlx::query_scalar("select count(*) from devart.holds where status = 'HELD'")
        .fetch_one(&world.db.owner)
        .await?;
    ensure!(open == 0, "{open} holds have no end");
    audit(&world.db.owner).await;
    Ok(())
}
