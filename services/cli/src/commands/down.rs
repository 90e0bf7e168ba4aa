//! `devart down`: stops everything that `devart up` started.

use anyhow::Result;

use crate::layout::Layout;
use crate::supervisor;

/// Stops the supervisor and its servers, or what a killed one left behind; names what did not end
/// by itself.
pub fn run(layout: &Layout) -> Result<()> {
    let stopped = supervisor::stop(layout)?;
    if !stopped.forced.is_empty() {
        say!(
            "  did not answer, so ended by force: {}",
            stopped.forced.join(", ")
        );
    }
    say!(
        "{}",
        if stopped.was_running {
            "devart is down"
        } else {
            "devart was not running"
        }
    );
    Ok(())
}
