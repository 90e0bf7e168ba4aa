//! No wake-up is lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devart_cli::cluster::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{PATIENCE, create_rows, listen, session};
use crate::support::cluster;

const ROWS: i64 = 10_000;

const SESSIONS: usize = 4;

/// A row that nobody was told of would be seen with the next one. So after so many rows the sessions
/// wait until all are picked up, and begin again in the moment in which the consumer goes idle.
const ROWS_PER_ROUND: i64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_wakeup_is_lost_while_the_consumer_goes_idle() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = cluster::notified().await;
    create_rows(cluster)?;
    let mut pickups = consumer(cluster).await?;
    let mut writers = Vec::new();
    for _ in 0..SESSIONS {
        writers.push(session(cluster).await?);
    }
    let mut latest = Duration::ZERO;
    for first in (0..ROWS).step_by(ROWS_PER_ROUND as usize) {
        let round = first..first + ROWS_PER_ROUND;
        let committed = commit_at_random_moments(&mut writers, round.clone(), &mut random).await?;
        for _ in round {
            let (id, at) = pickups
                .recv()
                .await
                .with_context(|| format!("a row was never picked up, seed {seed}"))?;
            latest = latest.max(at.saturating_duration_since(committed[&id]));
        }
    }
    println!("the latest pickup came {latest:?} after the commit");
    Ok(())
}

/// Listens on one connection and drains on another; never looks without having been told to.
/// Gives each row with the moment in which it was seen; ends when nobody tells it anything for long.
async fn consumer(cluster: &Cluster) -> Result<mpsc::UnboundedReceiver<(i64, Instant)>> {
    let mut listener = listen(cluster, &["devart_rows"]).await?;
    let mut connection = session(cluster).await?;
    let (sender, pickups) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while timeout(PATIENCE, listener.recv())
            .await
            .is_ok_and(|told| told.is_ok())
        {
            while let Ok(ids) = drain(&mut connection).await
                && !ids.is_empty()
            {
                let now = Instant::now();
                for id in ids {
                    let _ = sender.send((id, now));
                }
            }
        }
    });
    Ok(pickups)
}

async fn drain(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar("delete from rows returning id")
        .fetch_all(connection)
        .await
}

/// Each row in a transaction of its own, after up to half a millisecond. Gives when each was committed.
async fn commit_at_random_moments(
    writers: &mut [PgConnection],
    ids: std::ops::Range<i64>,
    random: &mut StdRng,
) -> Result<HashMap<i64, Instant>> {
    let mut work = vec![Vec::new(); writers.len()];
    for id in ids {
        let writer = random.random_range(0..writers.len());
        work[writer].push((id, Duration::from_micros(random.random_range(0..500))));
    }
    let runs = writers
        .iter_mut()
        .zip(work)
        .map(|(writer, work)| commit_each(writer, work));
    let committed = futures::future::try_join_all(runs).await?;
    Ok(committed.into_iter().flatten().collect())
}

async fn commit_each(
    writer: &mut PgConnection,
    work: Vec<(i64, Duration)>,
) -> Result<Vec<(i64, Instant)>> {
    let mut committed = Vec::new();
    for (id, pause) in work {
        spin(pause).await;
        sqlx::query("insert into rows values ($1)")
            .bind(id)
            .execute(&mut *writer)
            .await?;
        committed.push((id, Instant::now()));
    }
    Ok(committed)
}

/// Timers are too coarse for moments that shall differ by microseconds.
async fn spin(pause: Duration) {
    let end = Instant::now() + pause;
    while Instant::now() < end {
        tokio::task::yield_now().await;
    }
}
