//! cargo-pgrx, which builds the extension: exactly the version that the extension's pgrx has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::disk;
use crate::layout::cache_dir;
use crate::progress::Stage;
use crate::run_as::run;
use crate::shell::run_logged;

const VERSION: &str = "0.18.1";

/// Installs it unless it is there.
pub fn ensure(stage: &Stage, log: &Path) -> Result<((), String)> {
    if is_installed()? {
        return Ok(((), "current".to_owned()));
    }
    let root = cache_dir()?.join("tools");
    disk::require(&root, 1500, "building cargo-pgrx")?;
    stage.note("compiling");
    let mut command = Command::new("cargo");
    command
        .args(["install", "cargo-pgrx", "--locked", "--force"])
        .arg(format!("--version=={VERSION}"))
        .arg("--root")
        .arg(&root)
        .env("CARGO_TARGET_DIR", cache_dir()?.join("tools-target"));
    run_logged(&mut command, log)?;
    Ok(((), format!("installed {VERSION}")))
}

/// The program.
pub fn path() -> Result<PathBuf> {
    Ok(cache_dir()?.join("tools/bin/cargo-pgrx"))
}

/// Whether exactly our version is installed.
pub fn is_installed() -> Result<bool> {
    let path = path()?;
    if !path.exists() {
        return Ok(false);
    }
    let said = run(Command::new(path).args(["pgrx", "--version"])).unwrap_or_default();
    Ok(said.split_whitespace().last() == Some(VERSION))
}
