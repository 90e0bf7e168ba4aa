//! `devart stand-in`: what the supervisor runs as long as a bridge's outside system is not chosen.

use anyhow::{Context, Result};

use crate::bridges::BRIDGES;

/// Stands in for the system outside of the bridge with this name until the process ends.
pub async fn run(bridge: &str, port: u16) -> Result<()> {
    let line = BRIDGES.iter().find(|it| it.name == bridge);
    let stand_in = line.and_then(|it| it.stand_in.as_ref());
    let stand_in = stand_in.with_context(|| format!("there is no stand-in for {bridge}"))?;
    (stand_in.serve)(port).await
}
