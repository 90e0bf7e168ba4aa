//! What stands in for outside systems that nobody has chosen yet: real servers that speak as much
//! of a system's protocol as its bridge does. So the same requests go out, people see what the
//! system would be told (`devart logs <part>`, `devart demo`), and nothing piles up in the outbox.
//! The tests use them too, and let them misbehave.

mod markdown_v2;
pub mod telegram;

use std::pin::Pin;

use anyhow::Result;

/// What stands in for the system outside of a bridge.
pub struct StandIn {
    /// Its name among the parts of an installation, and its log's.
    pub part: &'static str,
    /// Where it answers, or the next free port above.
    pub port: u16,
    /// The setting that chooses the system itself.
    pub instead_of: &'static str,
    /// What it takes, in words.
    pub takes: &'static str,
    /// With which settings the bridge speaks to it on this port.
    pub settings: fn(u16) -> Vec<(&'static str, String)>,
    /// Serves on this port until the process ends, and prints what it is told.
    pub serve: fn(u16) -> Serving,
}

/// A stand-in at work.
pub type Serving = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
