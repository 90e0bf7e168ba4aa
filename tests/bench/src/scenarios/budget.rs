//! Charging: everybody one service, and everybody their own.

use anyhow::{Result, ensure};

use crate::cluster::BenchCluster;
use crate::compare::compare;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const CLIENTS: u32 = 16;

pub fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.sql(include_str!("../../sql/budget.sql"))?;
    let run = |script| Run {
        script,
        clients: CLIENTS,
        length: Length::Seconds(seconds),
        agent: "nobody",
    };
    for (what, bare, devart, target) in [
        (
            "one hot service",
            include_str!("../../sql/bare_charge_hot.sql"),
            include_str!("../../sql/charge_hot.sql"),
            0.5,
        ),
        (
            "16 services",
            include_str!("../../sql/bare_charge_spread.sql"),
            include_str!("../../sql/charge_spread.sql"),
            0.8,
        ),
    ] {
        let compared = compare(cluster, &run(bare), &run(devart))?;
        report.note(
            &format!("bare update + ledger insert in one transaction, 16 clients, {what}"),
            format!("{:.0}/s", compared.bare),
        );
        report.judge(
            &format!("`charge_service`, 16 clients, {what}"),
            format!("{:.0}/s, {}", compared.devart, compared.text()),
            &format!("{target} of bare"),
            compared.ratio() >= target,
        );
    }
    let one_trip = run(include_str!("../../sql/bare_charge_one_trip.sql")).measure(cluster)?;
    report.note(
        "the same bare work in one statement, one hot row",
        format!("{:.0}/s", one_trip.tps),
    );
    let holds = run(include_str!("../../sql/hold.sql")).measure(cluster)?;
    report.note(
        "`reserve_charge` + `settle_charge`, 16 clients, 16 services",
        format!("{:.0}/s", holds.tps),
    );
    let broken = cluster.sql("select count(*) from devart_private.audit_budgets()")?;
    ensure!(broken == "0", "the audit found {broken} rows");
    Ok(())
}
