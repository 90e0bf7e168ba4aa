//! One file per question.

pub mod backlog;
pub mod bridge;
pub mod budget;
pub mod create;
pub mod drain;
pub mod long_transaction;
pub mod memory;
pub mod pickup;
pub mod round_trips;

use anyhow::Result;

use crate::cluster::BenchCluster;
use crate::pgbench::{Measured, Run};

/// Runs `bare`, `devart`, `bare`, `devart`, `bare`, and gives the mean rates of both (bare, devart):
/// drift of the machine falls on both alike.
fn interleaved(cluster: &BenchCluster, bare: &Run, devart: &Run) -> Result<(f64, f64)> {
    let mut rates = [Vec::new(), Vec::new()];
    for turn in 0..5 {
        let which = turn % 2;
        let measured: Measured = [bare, devart][which].measure(cluster)?;
        rates[which].push(measured.tps);
    }
    Ok((mean(&rates[0]), mean(&rates[1])))
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
