//! The versions of PgBouncer that tests try, each built from the source package of a release of
//! Debian: no package is installed whose server would start with the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{debian_source, open_cache, packages};
use crate::layout::cache_dir;
use crate::progress::Stage;
use crate::shell::{as_root, run_logged};

/// What building PgBouncer needs besides the packages of every set-up.
const PACKAGE: &str = "libevent-dev";

/// A version, by the release of Debian that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub release: &'static str,
    /// As `pgbouncer --version` begins.
    pub number: &'static str,
}

/// Knows nothing of prepared statements.
pub const BOOKWORM: Version = Version {
    release: "bookworm",
    number: "1.18",
};
/// Prepares statements again where a client's transaction goes.
pub const TRIXIE: Version = Version {
    release: "trixie",
    number: "1.24",
};
/// All that set-up builds for the tests.
pub const VERSIONS: [Version; 2] = [BOOKWORM, TRIXIE];

impl Version {
    /// Where it is once it is built.
    pub fn program(&self) -> Result<PathBuf> {
        Ok(open_cache::directory()?.join(format!("pgbouncer-{}", self.release)))
    }

    /// Why set-up could not have it, if its source was not to be had the last time.
    pub fn why_missing(&self) -> Option<String> {
        std::fs::read_to_string(self.note().ok()?).ok()
    }

    fn note(&self) -> Result<PathBuf> {
        Ok(cache_dir()?.join(format!("pgbouncer-{}.missing", self.release)))
    }
}

/// Builds what is not there. A source that cannot be had is said and noted, and does not end the
/// set-up; one that does not build is an error.
pub fn ensure(stage: &Stage, log: &Path) -> Result<((), String)> {
    let mut built = Vec::new();
    for version in VERSIONS {
        if !version.program()?.exists() && ensure_one(version, stage, log)? {
            built.push(version.number);
        }
    }
    let missing: Vec<&str> = VERSIONS
        .iter()
        .filter(|version| version.why_missing().is_some())
        .map(|version| version.number)
        .collect();
    Ok(((), outcome(&built, &missing)))
}

fn outcome(built: &[&str], missing: &[&str]) -> String {
    let part = |what: &str, versions: &[&str]| {
        (!versions.is_empty()).then(|| format!("{what} {}", versions.join(", ")))
    };
    let parts = [part("built", built), part("not to be had:", missing)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return "current".to_owned();
    }
    parts.join("; ")
}

/// Whether it is there now.
fn ensure_one(version: Version, stage: &Stage, log: &Path) -> Result<bool> {
    stage.note(&format!("building {}", version.number));
    let mut has_source = false;
    let built = debian_source::with_source("pgbouncer", version.release, log, |source| {
        has_source = true;
        build(source, &version.program()?, log)
    });
    let note = version.note()?;
    match built {
        Err(error) if !has_source => {
            let (number, why) = (version.number, format!("{error:#}"));
            warn!("tests will not try PgBouncer {number}: {why}");
            std::fs::write(&note, why).with_context(|| format!("writing {}", note.display()))?;
            Ok(false)
        }
        built => {
            let _ = std::fs::remove_file(&note);
            built.map(|()| true)
        }
    }
}

fn build(source: &Path, program: &Path, log: &Path) -> Result<()> {
    let missing = packages::not_installed(vec![PACKAGE.to_owned()])?;
    if !missing.is_empty() {
        packages::install(&missing, log)?;
    }
    let mut configure = Command::new("./configure");
    run_logged(configure.current_dir(source).arg("--without-cares"), log)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut make = Command::new("make");
    // Only the program: its manual would need more packages.
    make.args(["-s", &format!("-j{jobs}"), "-C"])
        .arg(source)
        .arg("pgbouncer")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    run_logged(&mut make, log)?;
    let mut install = as_root("install")?;
    install
        .args(["-D", "-m", "755"])
        .arg(source.join("pgbouncer"))
        .arg(program);
    run_logged(&mut install, log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_up_says_what_it_built_and_what_was_not_to_be_had() {
        assert_eq!(outcome(&[], &[]), "current");
        assert_eq!(outcome(&["1.18", "1.24"], &[]), "built 1.18, 1.24");
        assert_eq!(
            outcome(&["1.18"], &["1.24"]),
            "built 1.18; not to be had: 1.24"
        );
    }
}
