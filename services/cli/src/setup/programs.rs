//! Our own programs: built by cargo, then copied to where the servers' users can read them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::bridges::{BRIDGES, Bridge};
use crate::disk;
use crate::hash::file_sha256;
use crate::layout::{Layout, target_dir};
use crate::progress::Stage;
use crate::shell::run_logged;

/// The programs that the supervisor runs, itself included.
fn programs() -> Vec<String> {
    let own = ["devart", "devart-api"].map(str::to_owned);
    own.into_iter()
        .chain(BRIDGES.iter().map(Bridge::program))
        .collect()
}

/// Builds and copies; gives whether a copy changed.
pub fn ensure(layout: &Layout, stage: &Stage, log: &Path) -> Result<(bool, String)> {
    let target = target_dir()?;
    if !target.exists() {
        disk::require(&target, 4000, "building the services")?;
    }
    stage.note("compiling what changed");
    // All default members at once, as `make test` does: then the dependencies get the same features and compile once.
    let mut command = Command::new("cargo");
    command
        .current_dir(&layout.repo)
        .args(["build", "--release", "--locked", "--bins"])
        .env("CARGO_TARGET_DIR", &target);
    run_logged(&mut command, log)?;
    let mut changed = Vec::new();
    for program in programs() {
        if copy_if_changed(
            &target.join("release").join(&program),
            &layout.bin_dir().join(&program),
        )? {
            changed.push(program);
        }
    }
    let what = if changed.is_empty() {
        "current".to_owned()
    } else {
        format!("built {}", changed.join(", "))
    };
    Ok((!changed.is_empty(), what))
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    if to.exists() && file_sha256(from)? == file_sha256(to)? {
        return Ok(false);
    }
    let draft = to.with_extension("new");
    std::fs::copy(from, &draft).with_context(|| format!("copying {}", from.display()))?;
    // A running program cannot be written over, but its name can be given to another file.
    std::fs::rename(&draft, to).with_context(|| format!("replacing {}", to.display()))?;
    Ok(true)
}
