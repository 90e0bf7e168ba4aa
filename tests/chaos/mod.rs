//! Tasks over RabbitMQ while everything around them dies and rows among them are poisoned: each task
//! is finished, none twice, none is lost, each poisoned row is set aside, and the money adds up.
//!
//! `DEVART_CHAOS_TASKS` says how many (5,000 by default), `DEVART_CHAOS_SEED` repeats a run's disturbances:
//! `DEVART_CHAOS_TASKS=100000 cargo test --release --locked -- chaos --nocapture`

mod accounts;
pub(crate) mod network;
mod poison;
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use uuid::Uuid;

use crate::support::wait::within;
use poison::Poison;
use world::{Disturbance, World, pause};

const TASKS: usize = 5_000;
/// Quick disturbances beside one of each kind, for so many tasks.
const TASKS_PER_DISTURBANCE: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn every_task_is_finished_once_whatever_dies_meanwhile() -> Result<()> {
    let tasks = number("DEVART_CHAOS_TASKS")?.map_or(TASKS, |number| number as usize);
    let seed = number("DEVART_CHAOS_SEED")?.unwrap_or_else(rand::random);
    say(&format!("DEVART_CHAOS_SEED={seed} with {tasks} tasks"));
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::create().await?;
    let mut poison = Poison::new(&mut random);
    let started = Instant::now();
    disturb_while_working(&mut world, tasks, &mut poison, &mut random).await?;
    wait_until_all_is_done(&world, tasks, &poison).await;
    say(&format!(
        "{tasks} tasks took {:.0} s",
        started.elapsed().as_secs_f64()
    ));
    poison.check(&world.pool).await?;
    check(&world, tasks as i64, poison.tasks() as i64).await
}

fn number(variable: &str) -> Result<Option<u64>> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(
            text.parse().with_context(|| format!("{variable}={text}"))?,
        )),
        Err(_) => Ok(None),
    }
}

/// Also when the test passes, and its output is not shown.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "chaos: {line}");
}

/// Each disturbance comes while there is work of its own.
async fn disturb_while_working(
    world: &mut World,
    tasks: usize,
    poison: &mut Poison,
    random: &mut StdRng,
) -> Result<()> {
    let disturbances = disturbances(tasks, random);
    let mut left = tasks;
    for (index, disturbance) in disturbances.iter().enumerate() {
        let share = left / (disturbances.len() - index);
        poison.plant(&world.pool).await;
        world.create_tasks(share, random).await;
        left -= share;
        pause(random, 0..1_000).await;
        say(&format!("{disturbance:?}"));
        world.disturb(*disturbance, random).await?;
    }
    Ok(())
}

fn disturbances(tasks: usize, random: &mut StdRng) -> Vec<Disturbance> {
    let rounds = tasks.div_ceil(20_000);
    let mut all: Vec<Disturbance> = Disturbance::ALL.repeat(rounds);
    let more = (tasks / TASKS_PER_DISTURBANCE).saturating_sub(all.len());
    all.extend((0..more).filter_map(|_| Disturbance::QUICK.choose(random)));
    all.shuffle(random);
    all
}

async fn wait_until_all_is_done(world: &World, tasks: usize, poison: &Poison) {
    let patience = Duration::from_secs(120 + tasks as u64 / 50);
    let mut shown = Instant::now();
    within(patience, "every task is finished", async || {
        let (done, outbox) = progress(world).await?;
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            say(&format!("{done} done, {outbox} messages wait"));
        }
        (done == tasks as i64 && outbox == 0).then_some(())
    })
    .await;
    within(patience, "every poisoned row is set aside", async || {
        poison.is_over(&world.pool).await
    })
    .await;
}

/// Finished tasks, and messages that are to be delivered.
async fn progress(world: &World) -> Option<(i64, i64)> {
    sqlx::query_as(
        "select (select count(*) from devart.tasks where status = 'DONE'),
                (select count(*) from devart_private.outbox where buried_at is null)",
    )
    .fetch_one(&world.pool)
    .await
    .ok()
}

async fn check(world: &World, tasks: i64, poisoned: i64) -> Result<()> {
    let (all, finished, finishes): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from devart.tasks),
                count(distinct task_id), count(*) from devart.task_events where to_status = 'DONE'",
    )
    .fetch_one(&world.pool)
    .await?;
    ensure!(
        all == tasks + poisoned,
        "{all} tasks instead of {tasks} and {poisoned} poisoned ones"
    );
    ensure!(
        finished == tasks,
        "{finished} of {tasks} tasks are finished"
    );
    ensure!(finishes == tasks, "{finishes} finishes of {tasks} tasks");
    check_journals(world).await?;
    accounts::check(world).await
}

/// The lease under which a task was finished is one under which somebody did the work, and nobody was told that
/// work under another lease was accepted.
async fn check_journals(world: &World) -> Result<()> {
    let leases: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select id, lease_token from devart.tasks where status = 'DONE'")
            .fetch_all(&world.pool)
            .await?;
    let finished_under: BTreeMap<Uuid, Uuid> = leases.into_iter().collect();
    let mut worked = BTreeMap::new();
    for (what, task, lease) in world.journals()? {
        match what.as_str() {
            "work" => *worked.entry((task, lease)).or_insert(0) += 1,
            "done" => ensure!(
                finished_under.get(&task) == Some(&lease),
                "task {task} was finished under another lease than {lease}, which was accepted"
            ),
            _ => {}
        }
    }
    for (task, lease) in &finished_under {
        ensure!(
            worked.get(&(*task, *lease)) == Some(&1),
            "nobody worked on task {task} under the lease {lease}, or somebody twice"
        );
    }
    Ok(())
}
