//! Workers go on through a restart of Postgres, orderly or not.

use anyhow::Result;
use devart_cli::cluster::{Cluster, StopMode};
use devart_kit::outbox::OutboxOptions;
use sqlx::postgres::PgPoolOptions;

use super::{is_empty, work};
use crate::support::cluster;
use crate::support::outbox::{Script, Worker, enable, enqueue, quick};
use crate::support::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_loses_nothing() -> Result<()> {
    survive(StopMode::Fast).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgres_loses_nothing() -> Result<()> {
    survive(StopMode::Immediate).await
}

async fn survive(mode: StopMode) -> Result<()> {
    let cluster = cluster::durable().await?;
    let owner = PgPoolOptions::new()
        .max_connections(2)
        .connect(&cluster.url("devart"))
        .await?;
    enable(&owner).await?;
    let script = Script::new(work);
    let options = OutboxOptions {
        lease_seconds: 5,
        ..quick()
    };
    let url = cluster.bridge_url("rabbitmq", cluster::DATABASE);
    let workers = [(); 2].map(|()| Worker::start(&url, script.clone(), options));
    enqueue(&owner, None, 1, 1_500).await?;
    for delivered in [300, 900] {
        eventually("the workers get on", async || {
            (script.read(|it| it.ended.len()) >= delivered).then_some(())
        })
        .await;
        restart(&cluster, mode)?;
    }
    is_empty(&owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    let mut ended = script.ended();
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended, (1..=1_500).collect::<Vec<_>>());
    assert!(script.read(|it| it.overlaps.is_empty()));
    Ok(())
}

fn restart(cluster: &Cluster, mode: StopMode) -> Result<()> {
    tokio::task::block_in_place(|| cluster.restart(mode))
}
