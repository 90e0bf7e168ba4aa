//! A provider counts what it served while agents die at random points: the ledger is never below
//! it, and equals it after all late settlements.
//!
//! `DEVART_TEST_SEED` repeats the choices of a run; `DEVART_TEST_CALLS` sets how many calls there are.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::{audit, mark_dispatched, service, settle};

const CALLS: u64 = 10_000;
const AGENTS: u64 = 16;

/// What it served, by the hold that each call was made with, in millionths of a dollar.
#[derive(Default)]
struct Provider {
    served: Mutex<HashMap<Uuid, i64>>,
}

impl Provider {
    fn serve(&self, hold: Uuid, cost: i64) {
        let mut served = self.served.lock().expect("no agent panics here");
        *served.entry(hold).or_default() += cost;
    }

    fn all(&self) -> HashMap<Uuid, i64> {
        self.served.lock().expect("no agent panics here").clone()
    }
}

fn dollars(millionths: i64) -> Decimal {
    Decimal::new(millionths, 6)
}

/// Random numbers that a seed repeats (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// All that the agents share.
struct World {
    db: Database,
    service_id: Uuid,
    provider: Provider,
    calls: AtomicU64,
    wanted: u64,
}

impl World {
    /// Agents one after the other, each until it dies, until there were calls enough.
    async fn agents(&self, mut dice: Dice) -> Result<()> {
        while self.calls.load(Ordering::Relaxed) < self.wanted {
            let mut session = self.db.session().await?;
            while self.calls.fetch_add(1, Ordering::Relaxed) < self.wanted {
                if !self.call(&mut session, &mut dice).await? {
                    break;
                }
            }
            // Without a word: its connection is cut.
            drop(session);
        }
        Ok(())
    }

    /// One call of the provider; false when the agent died of it.
    async fn call(&self, session: &mut PgConnection, dice: &mut Dice) -> Result<bool> {
        let held = 1_000 + dice.roll(9_000) as i64;
        let at_once = dice.roll(2) == 0;
        let answer: Value =
            sqlx::query_scalar("select devart.reserve_charge($1, $2, dispatched => $3)")
                .bind(self.service_id)
                .bind(dollars(held))
                .bind(at_once)
                .fetch_one(&mut *session)
                .await?;
        let hold: Uuid = answer["hold_id"].as_str().context("a hold")?.parse()?;
        if dice.roll(50) == 0 {
            return Ok(false);
        }
        if !at_once && !mark_dispatched(&mut *session, hold).await? {
            return Ok(true);
        }
        if dice.roll(50) == 0 {
            return Ok(false);
        }
        let cost = dice.roll(held as u64 + 1) as i64;
        self.provider.serve(hold, cost);
        match dice.roll(50) {
            0 => Ok(false),
            // Killed while it settles: nobody knows whether that came through.
            1 => {
                let killed = Duration::from_micros(dice.roll(2_000));
                let cost = dollars(cost).to_string();
                drop(tokio::time::timeout(killed, settle(session, hold, &cost)).await);
                Ok(false)
            }
            _ => {
                settle(session, hold, &dollars(cost).to_string()).await?;
                Ok(true)
            }
        }
    }

    /// Lets the time of some holds be up, of dead agents and of slow ones, and looks at the ledger.
    async fn watch(&self, done: &AtomicBool) -> Result<()> {
        let mut session = self.db.session().await?;
        while !done.load(Ordering::Relaxed) {
            end_some(&mut session, 20).await?;
            let served: i64 = self.provider.all().values().sum();
            ensure!(
                self.in_the_ledger(&mut session).await? >= dollars(served),
                "the ledger is below what was served"
            );
        }
        Ok(())
    }

    /// What is spent, or held by a call that may have gone out.
    async fn in_the_ledger(&self, session: &mut PgConnection) -> sqlx::Result<Decimal> {
        sqlx::query_scalar(
            "select s.spent_usd + coalesce((
                 select sum(h.amount_usd) from devart.holds h
                 where h.status = 'HELD' and h.dispatched), 0)
             from devart.service_registry s where s.id = $1",
        )
        .bind(self.service_id)
        .fetch_one(session)
        .await
    }

    async fn spent(&self) -> sqlx::Result<Decimal> {
        sqlx::query_scalar("select s.spent_usd from devart.service_registry s where s.id = $1")
            .bind(self.service_id)
            .fetch_one(&self.db.owner)
            .await
    }
}

/// Lets the time of up to so many open holds be up; maintenance ends them. Whether any are left.
async fn end_some(session: &mut PgConnection, most: i64) -> Result<bool> {
    sqlx::query(
        "update devart.holds h set expires_at = clock_timestamp() - interval '1 second'
         where h.id in (select o.id from devart.holds o where o.status = 'HELD'
                        order by random() limit $1 for no key update skip locked)",
    )
    .bind(most)
    .execute(&mut *session)
    .await?;
    sqlx::query("select devart_private.maintain()")
        .execute(&mut *session)
        .await?;
    let any_left = "select exists (select from devart.holds where status = 'HELD')";
    Ok(sqlx::query_scalar(any_left).fetch_one(session).await?)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_never_below_what_was_served_and_equals_it_in_the_end() -> Result<()> {
    let seed = number("DEVART_TEST_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let wanted = number("DEVART_TEST_CALLS").unwrap_or(CALLS);
    // Past the capturing of a test's output: it is wanted of runs that succeed, too.
    writeln!(
        std::io::stderr(),
        "mock provider: {wanted} calls, DEVART_TEST_SEED={seed}"
    )?;
    let db = Database::create().await?;
    let service_id = service(&db.owner, "model", "1000000").await?;
    let world = World {
        db,
        service_id,
        provider: Provider::default(),
        calls: AtomicU64::new(0),
        wanted,
    };
    let done = AtomicBool::new(false);
    let agents = async {
        let each = (0..AGENTS).map(|n| world.agents(Dice(seed.wrapping_add(n))));
        let outcome = try_join_all(each).await;
        done.store(true, Ordering::Relaxed);
        outcome
    };
    tokio::try_join!(agents, world.watch(&done))?;
    let mut session = world.db.session().await?;
    while end_some(&mut session, 1_000).await? {}
    let served = world.provider.all();
    let total = dollars(served.values().sum());
    ensure!(world.spent().await? >= total, "presumed too little");
    settle_late(&world.db, &served).await?;
    assert_eq!(world.spent().await?, total, "with DEVART_TEST_SEED={seed}");
    audit(&world.db.owner).await;
    Ok(())
}

/// What is still presumed, those settle who made the calls: at nothing, if none went out.
async fn settle_late(db: &Database, served: &HashMap<Uuid, i64>) -> Result<()> {
    let presumed: Vec<Uuid> = sqlx::query_scalar("select id from devart.holds where presumed")
        .fetch_all(&db.owner)
        .await?;
    ensure!(!presumed.is_empty(), "no agent died");
    for hold in presumed {
        let cost = dollars(served.get(&hold).copied().unwrap_or_default());
        let late = settle(&db.owner, hold, &cost.to_string()).await?;
        ensure!(late["presumed"] == true, "{late}");
    }
    Ok(())
}
