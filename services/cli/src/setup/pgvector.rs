//! pgvector: Debian's package where there is one, else built from Debian's own source package.
//!
//! Debian 12 has no pgvector. The next release has its source, which builds against any Postgres.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{debian_source, packages};
use crate::postgres::Postgres;
use crate::progress::Stage;
use crate::shell::{as_root, run_logged};

/// The Debian release whose source we take.
const RELEASE: &str = "trixie";

/// Makes pgvector available to this Postgres.
pub fn ensure(postgres: &Postgres, stage: &Stage, log: &Path) -> Result<((), String)> {
    if is_installed(postgres) {
        return Ok(((), "current".to_owned()));
    }
    let package = format!("postgresql-{}-pgvector", postgres.major);
    if postgres.is_debian() && packages::is_available(&package) {
        stage.note(&format!("installing {package}"));
        packages::install(std::slice::from_ref(&package), log)?;
        return Ok(((), format!("installed {package}")));
    }
    stage.note("building from Debian's source package");
    debian_source::with_source("pgvector", RELEASE, log, |source| {
        build(postgres, source, log)
    })?;
    Ok(((), "built from Debian's source package".to_owned()))
}

/// Whether this Postgres has pgvector.
pub fn is_installed(postgres: &Postgres) -> bool {
    postgres.has_library("vector") && postgres.extension_dir().join("vector.control").exists()
}

fn build(postgres: &Postgres, source: &Path, log: &Path) -> Result<()> {
    let pg_config = format!("PG_CONFIG={}", postgres.pg_config().display());
    // No -march=native: the library must run on whatever machine this image is copied to.
    let common = ["-C".as_ref(), source.as_os_str(), pg_config.as_ref()];
    run_logged(
        Command::new("make")
            .args(common)
            .args(["OPTFLAGS=", "with_llvm=no"]),
        log,
    )?;
    run_logged(
        as_root("make")?
            .args(common)
            .args(["OPTFLAGS=", "with_llvm=no", "install"]),
        log,
    )
}
