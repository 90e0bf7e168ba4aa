//! `devart down`: stops everything that `devart up` started.

use anyhow::Result;

use crate::layout::Layout;
use crate::supervisor;

/// Stops the supervisor and its servers, or what a killed one left behind.
pub fn run(layout: &Layout) -> Result<()> {
    let stopped = supervisor::stop(layout)?;
    supervisor::orphans::stop(layout)?;
    println!(
        "{}",
        if stopped {
            "devart is down"
        } else {
            "devart was not running"
        }
    );
    Ok(())
}
