//! Whether a claim gets slower with what waits, what lies in the future, and what is for others.

use anyhow::Result;

use crate::cluster::BenchCluster;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const CLIENTS: u32 = 4;
const SHORT: u32 = 10_000;

pub fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    let (agent, _) = cluster.register_agent("backlog")?;
    let claims = |length| Run {
        script: include_str!("../../sql/claim.sql"),
        clients: CLIENTS,
        length,
        agent: &agent,
    };

    // Most of the ten thousand, and no claim that finds nothing.
    cluster.fill(SHORT)?;
    let small = claims(Length::Transactions(SHORT * 9 / 10 / CLIENTS))
        .measure(cluster)?
        .percentile_ms(99.0);

    cluster.fill(1_000_000)?;
    cluster.sql(
        "insert into devart.tasks (title, run_at)
         select 'future', now() + interval '1 day' from generate_series(1, 100000)",
    )?;
    cluster.sql(
        "insert into devart.tasks (title, required_capabilities)
         select 'other', array['capability ' || n % 10] from generate_series(1, 1000000) n",
    )?;
    cluster.settle()?;
    let large = claims(Length::Seconds(seconds))
        .measure(cluster)?
        .percentile_ms(99.0);
    report.judge(
        "claim p99, 1,000,000 waiting + 100,000 future + 1,000,000 for others",
        format!(
            "{large:.2} ms, {:.2} times the {small:.2} ms with 10,000 waiting",
            large / small
        ),
        "1.5 times",
        large / small <= 1.5,
    );
    Ok(())
}
