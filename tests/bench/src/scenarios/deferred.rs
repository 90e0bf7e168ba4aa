//! Whether a service that is put off, with many tasks waiting for it, makes claims of others slower.

use anyhow::Result;

use crate::cluster::BenchCluster;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const CLIENTS: u32 = 4;
const FILL: u32 = 10_000;
/// Fewer than there are, so that no claim finds nothing.
const CLAIMS: u32 = FILL * 9 / 10 / CLIENTS;

pub fn run(cluster: &BenchCluster, report: &mut Report) -> Result<()> {
    let (agent, _) = cluster.register_agent("deferred")?;
    let p99 = || -> Result<f64> {
        let claims = Run {
            script: include_str!("../../sql/claim.sql"),
            clients: CLIENTS,
            length: Length::Transactions(CLAIMS),
            agent: &agent,
        };
        Ok(claims.measure(cluster)?.percentile_ms(99.0))
    };
    cluster.fill(FILL)?;
    let without = p99()?;

    cluster.fill(FILL)?;
    // Older than what is claimed, so that each claim would meet them first.
    cluster.sql(
        "insert into devart.service_registry (name) values ('deferred');
         insert into devart.tasks (title, service_id)
         select 'deferred', s.id from devart.service_registry s, generate_series(1, 100000)
         where s.name = 'deferred';
         update devart.tasks set ready_at = ready_at - interval '1 hour' where title = 'deferred';
         select devart.defer_service(s.id, now() + interval '1 day')
         from devart.service_registry s where s.name = 'deferred'",
    )?;
    // As maintain() does each second; what it has not reached yet, claims take out themselves.
    cluster.sql("select devart_private.defer_waiting_tasks(100000)")?;
    cluster.settle()?;
    let with = p99()?;
    report.judge(
        "claim p99, 100,000 waiting for a deferred service",
        format!(
            "{with:.2} ms, {:.2} times the {without:.2} ms without",
            with / without
        ),
        "1.5 times",
        with / without <= 1.5,
    );
    Ok(())
}
