//! A PostgreSQL that checks itself while it runs, for `make test-assertions`: Debian's source
//! package of this release, configured with `--enable-cassert`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{debian_source, open_cache, packages};
use crate::disk;
use crate::progress::Stage;
use crate::shell::{as_root, run_logged};

/// What building PostgreSQL needs besides the packages of every set-up.
const PACKAGES: [&str; 6] = [
    "bison",
    "build-essential",
    "flex",
    "libicu-dev",
    "libreadline-dev",
    "zlib1g-dev",
];

/// Builds it unless it is there; gives the path of its `pg_config`. Takes a few minutes.
pub fn ensure(stage: &Stage, log: &Path) -> Result<(PathBuf, String)> {
    let major = packages::newest_available()?.major()?;
    let prefix = open_cache::directory()?.join(format!("postgresql-{major}-assertions"));
    let pg_config = prefix.join("bin/pg_config");
    if pg_config.exists() {
        return Ok((pg_config, "current".to_owned()));
    }
    disk::require(&std::env::temp_dir(), 1500, "building PostgreSQL")?;
    stage.note("installing what its build needs");
    let wanted: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    let missing = packages::not_installed(wanted)?;
    if !missing.is_empty() {
        packages::install(&missing, log)?;
    }
    stage.note("compiling");
    debian_source::with_source(&format!("postgresql-{major}"), &release()?, log, |source| {
        build(source, &prefix, log)
    })?;
    Ok((pg_config, format!("built in {}", prefix.display())))
}

/// The name of this machine's release of Debian.
fn release() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release names no release; is this Debian?")
}

fn build(source: &Path, prefix: &Path, log: &Path) -> Result<()> {
    let mut configure = Command::new("./configure");
    configure
        .current_dir(source)
        .arg(format!("--prefix={}", prefix.display()))
        .args(["--enable-cassert", "--with-openssl", "--with-icu"]);
    run_logged(&mut configure, log)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    run_logged(
        make(Command::new("make"), source).arg(format!("-j{jobs}")),
        log,
    )?;
    run_logged(make(as_root("make")?, source).arg("install"), log)
}

/// Its makefiles take a variable of a make around them for one of theirs.
fn make(mut make: Command, source: &Path) -> Command {
    make.args(["-s", "MAKELEVEL=0", "-C"])
        .arg(source)
        .env_remove("MAKEFLAGS");
    make
}
