//! Whether a forgotten open transaction, which keeps dead rows from being removed, slows claims down.

use anyhow::Result;
use sqlx::{Connection, PgConnection};

use crate::cluster::BenchCluster;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const SECONDS: u32 = 60;
const WAITING: u32 = 1_000_000;

pub async fn run(cluster: &BenchCluster, report: &mut Report) -> Result<()> {
    let (agent, _) = cluster.register_agent("long transaction")?;
    let run = || Run {
        script: include_str!("../../sql/drain.sql"),
        clients: 16,
        length: Length::Seconds(SECONDS),
        agent: &agent,
    };
    cluster.fill(WAITING)?;
    let free = run().measure(cluster)?.tps;

    cluster.fill(WAITING)?;
    let mut forgotten = PgConnection::connect(&cluster.url()).await?;
    sqlx::raw_sql("begin isolation level repeatable read; select pg_current_xact_id()")
        .execute(&mut forgotten)
        .await?;
    let held = run().measure(cluster)?.tps;
    forgotten.close().await?;
    report.judge(
        "claim + complete for 60 s with a transaction open all the while",
        format!("{held:.0} tasks/s, {:.2} of {free:.0} without", held / free),
        "0.5 of without",
        held / free >= 0.5,
    );
    Ok(())
}
