//! Everything that must be on the machine before the servers start. Each stage first finds out, fast, whether there is
//! anything to do.

pub mod assertions;
pub mod compile;
mod debian_source;
pub mod extension;
mod no_servers;
mod open_cache;
pub mod packages;
pub mod pgbouncer;
pub mod pgvector;
pub mod programs;
pub mod python;

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::progress::stage;
use crate::supervisor;
pub use compile::Changed;

/// Runs the stages from packages to python. Starts nothing. `with_tests` adds what tests
/// need. Gives what changed, so that running servers know to restart.
pub fn run(layout: &Layout, with_tests: bool) -> Result<Changed> {
    layout.create()?;
    let _lock = supervisor::wait_for_lock(&layout.run_dir().join("setup.lock"), || {
        say!("  waiting for another set-up of this clone to finish");
    })?;
    let log = layout.log_file("setup");
    let postgres = stage("packages", |it| packages::ensure(layout, it, &log))?;
    layout.create_state()?;
    stage("pgvector", |it| pgvector::ensure(&postgres, it, &log))?;
    let changed = stage("compile", |it| compile::ensure(layout, &postgres, it, &log))?;
    stage("python", |it| python::ensure(layout, with_tests, it, &log))?;
    if with_tests {
        stage("pgbouncer", |it| pgbouncer::ensure(it, &log))?;
    }
    Ok(changed)
}

/// Instead of [`run`]: takes the programs beside this one as they are.
pub fn take_built(layout: &Layout) -> Result<Changed> {
    layout.create()?;
    layout.create_state()?;
    let this = std::env::current_exe().context("looking for this program")?;
    let built = this.parent().context("this program is nowhere")?;
    let changed = programs::copy(built, &layout.bin_dir())?;
    Ok(Changed {
        extension: false,
        programs: !changed.is_empty(),
    })
}
