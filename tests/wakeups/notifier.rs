//! What can happen to the notifier.

use anyhow::Result;
use devart_cli::cluster::{Cluster, ClusterOptions, StopMode};

use super::{PATIENCE, listen, next, session, wake_in_a_crowd};
use crate::support::cluster;
use crate::support::wait::within;

#[tokio::test(flavor = "multi_thread")]
async fn wakeups_work_again_after_the_notifier_is_killed() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let killed = cluster.notifier(None).await;
    // SAFETY: a process of this test's own cluster. Postgres answers with a crash restart.
    unsafe { libc::kill(killed as i32, libc::SIGKILL) };
    let next = cluster.notifier(Some(killed)).await;
    notifier_sends(&cluster, next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wakeups_work_again_after_a_restart() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let stopped = cluster.notifier(None).await;
    tokio::task::block_in_place(|| cluster.restart(StopMode::Fast))?;
    let next = cluster.notifier(Some(stopped)).await;
    notifier_sends(&cluster, next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wakeups_arrive_while_the_notifier_ends_and_begins() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let ended = cluster.notifier(None).await;
    let mut listener = listen(&cluster, &["devart_rows"]).await?;
    let mut connection = session(&cluster).await?;
    cluster.psql("devart", &format!("select pg_terminate_backend({ended})"))?;
    within(PATIENCE, "the next notifier sends", async || {
        wake_in_a_crowd(&mut connection, "rows")
            .await
            .expect("wake-ups");
        let told = next(&mut listener).await.expect("every wake-up arrives");
        (told.process_id() == cluster.find_notifier()? && told.process_id() != ended).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_can_be_copied_and_dropped_and_made_again() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let first = cluster.notifier(None).await;
    cluster.psql("postgres", "create database copy template devart")?;
    cluster.notifier(Some(first)).await;
    cluster.psql("postgres", "drop database devart")?;
    cluster.psql("postgres", "alter database copy rename to devart")?;
    let last = cluster.notifier(None).await;
    notifier_sends(&cluster, last).await
}

async fn notifier_sends(cluster: &Cluster, pid: u32) -> Result<()> {
    let mut listener = listen(cluster, &["devart_rows"]).await?;
    let mut connection = session(cluster).await?;
    within(PATIENCE, "the notifier sends", async || {
        wake_in_a_crowd(&mut connection, "rows")
            .await
            .expect("wake-ups");
        let told = next(&mut listener).await.expect("every wake-up arrives");
        (told.process_id() == pid).then_some(())
    })
    .await;
    Ok(())
}
