//! `make bench`: how fast devart is, as ratios against bare SQL measured in the same run.
//!
//! Absolute figures belong to a machine; ratios travel. "Bare" is the same transactions as plain SQL
//! on a table that has nothing but what it needs, run before and after in the same command.

mod cluster;
mod compare;
mod http_load;
mod latencies;
mod pgbench;
mod report;
mod scenarios;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use cluster::BenchCluster;
use report::Report;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Drain,
    Batch,
    Create,
    CreateByApi,
    Budget,
    Deferred,
    Backlog,
    LongTransaction,
    Lists,
    Pickup,
    RoundTrips,
    Bridge,
    Memory,
}

#[derive(Parser)]
#[command(about = "Measures devart against bare SQL, on a private cluster with stock settings")]
struct Arguments {
    /// Only these (all when none is given).
    scenarios: Vec<Scenario>,
    /// Length of one measurement, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let chosen =
        |scenario| arguments.scenarios.is_empty() || arguments.scenarios.contains(&scenario);
    let cluster = BenchCluster::start().await?;
    let mut report = Report::default();
    if chosen(Scenario::Drain) || chosen(Scenario::Batch) {
        scenarios::drain::run(&cluster, arguments.seconds, &mut report)?;
    }
    if chosen(Scenario::Create) {
        scenarios::create::run(&cluster, arguments.seconds, &mut report).await?;
    }
    if chosen(Scenario::CreateByApi) {
        scenarios::create_by_api::run(&cluster, arguments.seconds, &mut report).await?;
    }
    if chosen(Scenario::Budget) {
        scenarios::budget::run(&cluster, arguments.seconds, &mut report)?;
    }
    if chosen(Scenario::Pickup) {
        scenarios::pickup::run(&cluster, arguments.seconds, &mut report).await?;
    }
    if chosen(Scenario::RoundTrips) {
        scenarios::round_trips::run(&cluster, arguments.seconds, &mut report).await?;
    }
    if chosen(Scenario::Bridge) {
        scenarios::bridge::run(&cluster, arguments.seconds, &mut report).await?;
    }
    if chosen(Scenario::Memory) {
        scenarios::memory::run(&cluster, &mut report).await?;
    }
    if chosen(Scenario::LongTransaction) {
        scenarios::long_transaction::run(&cluster, &mut report).await?;
    }
    if chosen(Scenario::Lists) {
        scenarios::lists::run(&cluster, &mut report).await?;
    }
    if chosen(Scenario::Deferred) {
        scenarios::deferred::run(&cluster, &mut report)?;
    }
    if chosen(Scenario::Backlog) {
        scenarios::backlog::run(&cluster, arguments.seconds, &mut report)?;
    }
    report.print();
    Ok(())
}
