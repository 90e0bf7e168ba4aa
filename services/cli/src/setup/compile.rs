//! Compiling the programs and, where it is not current, the extension, in one run of cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{extension, programs};
use crate::disk;
use crate::layout::{Layout, cache_dir, target_dir};
use crate::postgres::Postgres;
use crate::progress::Stage;
use crate::shell::run_watched;

/// What became different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// A new library of the extension was installed.
    pub extension: bool,
    /// A copy of one of our programs was replaced.
    pub programs: bool,
}

/// Builds what is not current, then installs and copies it.
pub fn ensure(
    layout: &Layout,
    postgres: &Postgres,
    stage: &Stage,
    log: &Path,
) -> Result<(Changed, String)> {
    let with_extension = !extension::is_current(layout, postgres)?;
    let target = target_dir()?;
    if !target.exists() {
        disk::require(&target, 5000, "compiling")?;
    }
    stage.note("compiling what changed");
    let mut cargo = cargo(layout, &target, with_extension.then_some(postgres))?;
    run_watched(&mut cargo, log, |text| {
        if let Some((done, all)) = progress(text) {
            stage.progress(format!("compiling, {done} of {all} crates"));
        }
    })?;
    let built = target.join("release");
    if with_extension {
        extension::install(layout, postgres, &built, log)?;
    }
    let mut changed = programs::copy(&built, &layout.bin_dir())?;
    let changed_programs = !changed.is_empty();
    if with_extension {
        changed.push("the extension".to_owned());
    }
    let what = if changed.is_empty() {
        "current".to_owned()
    } else {
        format!("built {}", changed.join(", "))
    };
    Ok((
        Changed {
            extension: with_extension,
            programs: changed_programs,
        },
        what,
    ))
}

/// Always all members or all default members, never single packages: another selection gives the
/// dependencies other features, and `make test` would compile them again.
fn cargo(layout: &Layout, target: &Path, extension: Option<&Postgres>) -> Result<Command> {
    let mut command = Command::new("cargo");
    command
        .current_dir(&layout.repo)
        .args(["build", "--release", "--locked"])
        .env("CARGO_TARGET_DIR", target)
        // Cargo's bar, which counts crates, comes only to a terminal unless it is told its width.
        .envs([
            ("CARGO_TERM_PROGRESS_WHEN", "always"),
            ("CARGO_TERM_PROGRESS_WIDTH", "100"),
            ("CARGO_TERM_COLOR", "never"),
        ]);
    for name in programs::names() {
        command.args(["--bin", &name]);
    }
    if let Some(postgres) = extension {
        command
            .args(["--workspace", "--lib", "--no-default-features"])
            .arg(format!("--features=pg_devart/pg{}", postgres.major))
            .envs(pgrx_environment(postgres)?);
    }
    Ok(command)
}

/// Tells pgrx which Postgres to build against, whatever a developer's own `~/.pgrx` says.
fn pgrx_environment(postgres: &Postgres) -> Result<[(&'static str, OsString); 2]> {
    let home: PathBuf = cache_dir()?.join("pgrx");
    std::fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    // pgrx asks cargo to watch this file, and cargo builds again as long as it is missing.
    let config = home.join("config.toml");
    if !config.exists() {
        std::fs::write(&config, "[configs]\n")
            .with_context(|| format!("writing {}", config.display()))?;
    }
    Ok([
        ("PGRX_PG_CONFIG_PATH", postgres.pg_config().into()),
        ("PGRX_HOME", home.into()),
    ])
}

/// How far cargo is, from its bar: `    Building [====>    ] 143/412: syn, serde`.
fn progress(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text
        .trim_start()
        .strip_prefix("Building [")?
        .split_once(']')?;
    let counts = rest.trim_start().split(':').next()?;
    let (done, all) = counts.split_once('/')?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_bar_tells_how_many_crates_are_done() {
        assert_eq!(
            progress("    Building [=====>          ] 143/412: syn, serde(build.rs)"),
            Some((143, 412))
        );
        assert_eq!(progress("    Building [=>  ] 3/412"), Some((3, 412)));
        assert_eq!(progress("   Compiling serde v1.0.229"), None);
        assert_eq!(progress("warning: unused [x] 1/2: y"), None);
    }
}
