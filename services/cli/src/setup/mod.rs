//! Everything that must be on the machine before the servers start. Each stage first finds out, fast, whether there is
//! anything to do.

pub mod cargo_pgrx;
pub mod extension;
mod no_servers;
pub mod packages;
pub mod pgvector;
pub mod programs;
pub mod python;

use anyhow::Result;

use crate::layout::Layout;
use crate::postgres::Postgres;
use crate::progress::stage;
use crate::supervisor;

/// What the set-up changed, so that running servers know to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The Postgres to run.
    pub postgres: Postgres,
    /// Whether a new library of the extension was installed.
    pub extension_changed: bool,
    /// Whether one of our own programs changed.
    pub programs_changed: bool,
}

/// Runs the stages from packages to python. Starts nothing. `with_tests` adds what the SDK's tests need.
pub fn run(layout: &Layout, with_tests: bool) -> Result<Outcome> {
    layout.create()?;
    let _lock = supervisor::wait_for_lock(&layout.run_dir().join("setup.lock"), || {
        println!("  waiting for another set-up of this clone to finish");
    })?;
    let log = layout.log_file("setup");
    let postgres = stage("packages", |it| packages::ensure(layout, it, &log))?;
    layout.create_state()?;
    stage("pgvector", |it| pgvector::ensure(postgres, it, &log))?;
    stage("cargo-pgrx", |it| cargo_pgrx::ensure(it, &log))?;
    let extension_changed = stage("extension", |it| {
        extension::ensure(layout, postgres, it, &log)
    })?;
    let programs_changed = stage("services", |it| programs::ensure(layout, it, &log))?;
    stage("python", |it| python::ensure(layout, with_tests, it, &log))?;
    Ok(Outcome {
        postgres,
        extension_changed,
        programs_changed,
    })
}
