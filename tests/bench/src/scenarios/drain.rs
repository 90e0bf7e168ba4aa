//! Claiming and completing, one by one and in batches.

use anyhow::Result;

use crate::cluster::BenchCluster;
use crate::compare::compare;
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
    let compared = compare(
        cluster,
        &run(include_str!("../../sql/bare_drain.sql")),
        &run(include_str!("../../sql/drain.sql")),
    )?;
    report.note(
        "bare claim + done, 16 clients",
        format!("{:.0} tasks/s", compared.bare),
    );
    report.judge(
        "`claim_next_task` + `complete_task`, 16 clients",
        format!("{:.0} tasks/s, {}", compared.devart, compared.text()),
        "0.6 of bare",
        compared.ratio() >= 0.6,
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
            batched / compared.devart
        ),
        "4 times one by one",
        batched / compared.devart >= 4.0,
    );
    Ok(())
}
