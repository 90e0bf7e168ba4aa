//! Claiming and completing, one by one and in batches.

use anyhow::Result;

use super::interleaved;
use crate::cluster::BenchCluster;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const CLIENTS: u32 = 16;
/// More than any machine here can drain while it is measured.
const WAITING: u32 = 600_000;

pub fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    let (agent, _) = cluster.register_agent("drain")?;
    cluster.fill(WAITING)?;
    let run = |script| Run {
        script,
        clients: CLIENTS,
        length: Length::Seconds(seconds),
        agent: &agent,
    };
    let (bare, devart) = interleaved(
        cluster,
        &run(include_str!("../../sql/bare_drain.sql")),
        &run(include_str!("../../sql/drain.sql")),
    )?;
    report.note(
        "bare claim + done, 16 clients",
        format!("{bare:.0} tasks/s"),
    );
    report.judge(
        "`claim_next_task` + `complete_task`, 16 clients",
        format!("{devart:.0} tasks/s, {:.2} of bare", devart / bare),
        "0.6 of bare",
        devart / bare >= 0.6,
    );
    cluster.fill(WAITING)?;
    let batch = Run {
        script: include_str!("../../sql/batch.sql"),
        clients: 4,
        length: Length::Seconds(seconds.min(5)),
        agent: &agent,
    };
    let batched = batch.measure(cluster)?.tps * 100.0;
    report.judge(
        "`claim_tasks(100)` + `complete_tasks`, 4 clients",
        format!(
            "{batched:.0} tasks/s, {:.1} times one by one",
            batched / devart
        ),
        "4 times one by one",
        batched / devart >= 4.0,
    );
    Ok(())
}
