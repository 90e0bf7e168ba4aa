//! Creating tasks, one by one and in bulk.

use anyhow::Result;

use super::interleaved;
use crate::cluster::BenchCluster;
use crate::pgbench::{Length, Run};
use crate::report::Report;

pub fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.fill(0)?;
    let run = |script, clients| Run {
        script,
        clients,
        length: Length::Seconds(seconds),
        agent: "nobody",
    };
    let (bare, devart) = interleaved(
        cluster,
        &run(include_str!("../../sql/bare_create.sql"), 16),
        &run(include_str!("../../sql/create.sql"), 16),
    )?;
    report.note("bare insert, 16 clients", format!("{bare:.0} rows/s"));
    report.note(
        "`create_task`, 16 clients",
        format!(
            "{devart:.0} tasks/s, {:.2} of bare (with plain NOTIFY)",
            devart / bare
        ),
    );
    cluster.fill(0)?;
    let bulk = run(include_str!("../../sql/create_bulk.sql"), 2)
        .measure(cluster)?
        .tps
        * 1000.0;
    report.judge(
        "`create_tasks`, 1,000 at a time, 2 clients",
        format!("{bulk:.0} tasks/s"),
        "50,000/s",
        bulk >= 50_000.0,
    );
    Ok(())
}
