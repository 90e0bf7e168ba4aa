//! Our own programs, as processes.

use std::path::PathBuf;
use std::process::Child;

use anyhow::{Context, Result, bail};

/// Where cargo puts programs: next to the folder of this test binary. Cargo does not build other
/// packages' programs for a test, so the Makefile does.
pub fn path(name: &str) -> Result<PathBuf> {
    let tests = std::env::current_exe().context("where am I?")?;
    let folder = tests
        .parent()
        .and_then(|deps| deps.parent())
        .context("no target folder")?;
    let program = folder.join(name);
    if !program.exists() {
        bail!(
            "{} is missing: cargo build --release -p {name}",
            program.display()
        );
    }
    Ok(program)
}

/// Asks a program to stop, as a supervisor does.
pub fn ask_to_stop(child: &Child) {
    // SAFETY: the child is ours and was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
}
