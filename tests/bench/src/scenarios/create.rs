//! Enqueuing: what a wake-up costs an insert, and creating tasks, one by one and in bulk.

use anyhow::Result;
use sqlx::postgres::PgListener;
use tokio::task::JoinHandle;

use crate::cluster::BenchCluster;
use crate::compare::compare;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const BARE: &str = include_str!("../../sql/bare_create.sql");

pub async fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    wakeups(cluster, seconds, report).await?;
    one_by_one(cluster, seconds, report)?;
    in_bulk(cluster, seconds, report)
}

/// The same insert without anybody to wake, with a wake-up, and with plain NOTIFY.
async fn wakeups(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.fill(0)?;
    let listener = listen(cluster).await?;
    let woken = script(include_str!("../../sql/woken_create.sql"), 16, seconds);
    let woken = compare(cluster, &script(BARE, 16, seconds), &woken)?;
    let notified = script(include_str!("../../sql/notified_create.sql"), 16, seconds);
    let notified = notified.measure(cluster)?.tps;
    listener.abort();
    report.note(
        "bare insert, 16 clients",
        format!("{:.0} rows/s", woken.bare),
    );
    report.judge(
        "the same with a wake-up, somebody listening",
        format!("{:.0} rows/s, {}", woken.devart, woken.text()),
        "0.85 of bare",
        woken.ratio() >= 0.85,
    );
    report.note(
        "the same with plain NOTIFY, as without preloading",
        format!("{notified:.0} rows/s, {:.2} of bare", notified / woken.bare),
    );
    Ok(())
}

/// Somebody who listens and does nothing with what he hears.
async fn listen(cluster: &BenchCluster) -> Result<JoinHandle<()>> {
    let mut listener = PgListener::connect(&cluster.url()).await?;
    listener.listen("devart_bench").await?;
    Ok(tokio::spawn(async move {
        while listener.recv().await.is_ok() {}
    }))
}

fn one_by_one(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.fill(0)?;
    let create = script(include_str!("../../sql/create.sql"), 16, seconds);
    let create = compare(cluster, &script(BARE, 16, seconds), &create)?;
    report.judge(
        "`create_task`, 16 clients",
        format!("{:.0} tasks/s, {}", create.devart, create.text()),
        "0.5 of bare",
        create.ratio() >= 0.5,
    );
    Ok(())
}

fn in_bulk(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.fill(0)?;
    let create = script(include_str!("../../sql/create_bulk.sql"), 2, seconds);
    let bulk = create.measure(cluster)?.tps * 1000.0;
    report.judge(
        "`create_tasks`, 1,000 at a time, 2 clients",
        format!("{bulk:.0} tasks/s"),
        "50,000/s",
        bulk >= 50_000.0,
    );
    Ok(())
}

fn script(script: &str, clients: u32, seconds: u32) -> Run<'_> {
    Run {
        script,
        clients,
        length: Length::Seconds(seconds),
        agent: "nobody",
    }
}
