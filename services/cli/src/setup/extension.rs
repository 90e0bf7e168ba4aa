//! Building pg_devart and installing it into Postgres' directories.
//!
//! Building takes minutes, so it is skipped when the sources and the installed library are those of the last build.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cargo_pgrx;
use crate::disk;
use crate::hash::{file_sha256, tree_sha256};
use crate::layout::{Layout, cache_dir};
use crate::postgres::Postgres;
use crate::progress::Stage;
use crate::shell::{as_root, run_logged};

const NAME: &str = "pg_devart";

/// Installs the extension of this clone; gives whether it had to.
pub fn ensure(
    layout: &Layout,
    postgres: Postgres,
    stage: &Stage,
    log: &Path,
) -> Result<(bool, String)> {
    if is_current(layout, postgres)? {
        return Ok((false, "current".to_owned()));
    }
    let sources = source_hash(layout)?;
    let target = cache_dir()?.join("pgrx-target");
    if !target.exists() {
        disk::require(&target, 3000, "building the extension")?;
    }
    stage.note("compiling");
    configure_pgrx(postgres, log)?;
    let package = build(layout, postgres, &target, log)?;
    install(&package, postgres, log)?;
    std::fs::write(stamp_file(postgres)?, stamp(&sources, postgres)?)
        .context("remembering the build")?;
    Ok((true, format!("built for PostgreSQL {}", postgres.major)))
}

/// Whether the installed extension was built from the sources of this clone.
pub fn is_current(layout: &Layout, postgres: Postgres) -> Result<bool> {
    if !postgres.has_library(NAME) {
        return Ok(false);
    }
    let remembered = std::fs::read_to_string(stamp_file(postgres)?).unwrap_or_default();
    Ok(remembered == stamp(&source_hash(layout)?, postgres)?)
}

/// Beside the builds, so that a second clone with the same sources builds nothing.
fn stamp_file(postgres: Postgres) -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("{NAME}-pg{}.stamp", postgres.major)))
}

/// The sources and every installed file: another clone may have installed over ours.
fn stamp(sources: &str, postgres: Postgres) -> Result<String> {
    let mut stamp = format!("sources {sources}\n");
    for file in installed_files(postgres)? {
        stamp.push_str(&format!("{} {}\n", file.display(), file_sha256(&file)?));
    }
    Ok(stamp)
}

fn installed_files(postgres: Postgres) -> Result<Vec<PathBuf>> {
    let mut files = vec![postgres.library_dir().join(format!("{NAME}.so"))];
    for entry in std::fs::read_dir(postgres.extension_dir())
        .context("reading Postgres' extension directory")?
    {
        let path = entry
            .context("reading Postgres' extension directory")?
            .path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(NAME))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn source_hash(layout: &Layout) -> Result<String> {
    tree_sha256(&[
        layout.repo.join("pg_devart"),
        layout.repo.join("Cargo.lock"),
        layout.repo.join("Cargo.toml"),
    ])
}

fn pgrx_home() -> Result<PathBuf> {
    Ok(cache_dir()?.join("pgrx"))
}

/// Tells pgrx which Postgres there is. In a home of our own: a developer's may name another.
fn configure_pgrx(postgres: Postgres, log: &Path) -> Result<()> {
    let home = pgrx_home()?;
    std::fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    let known = std::fs::read_to_string(home.join("config.toml")).unwrap_or_default();
    if known.contains(&postgres.bin("pg_config").display().to_string()) {
        return Ok(());
    }
    let mut command = Command::new(cargo_pgrx::path()?);
    command
        .args(["pgrx", "init", "--no-run"])
        .arg(format!(
            "--pg{}={}",
            postgres.major,
            postgres.bin("pg_config").display()
        ))
        .env("PGRX_HOME", &home);
    run_logged(&mut command, log)
}

/// Builds; gives the directory that holds the files under their final paths.
fn build(layout: &Layout, postgres: Postgres, target: &Path, log: &Path) -> Result<PathBuf> {
    let package = target.join(format!("package-pg{}", postgres.major));
    if package.exists() {
        std::fs::remove_dir_all(&package).context("clearing the last package")?;
    }
    let mut command = Command::new(cargo_pgrx::path()?);
    command
        .current_dir(layout.repo.join("pg_devart"))
        .args(["pgrx", "package", "--no-default-features"])
        .arg(format!("--features=pg{}", postgres.major))
        .arg("--pg-config")
        .arg(postgres.bin("pg_config"))
        .arg("--out-dir")
        .arg(&package)
        .env("PGRX_HOME", pgrx_home()?)
        .env("CARGO_TARGET_DIR", target);
    run_logged(&mut command, log)?;
    Ok(package)
}

fn install(package: &Path, postgres: Postgres, log: &Path) -> Result<()> {
    for dir in [postgres.library_dir(), postgres.extension_dir()] {
        let relative = dir
            .strip_prefix("/")
            .context("Postgres' directories are absolute")?;
        let built = package.join(relative);
        let files: Vec<PathBuf> = std::fs::read_dir(&built)
            .with_context(|| format!("reading {}", built.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        // `install` makes new files instead of writing into ones that a running server has mapped.
        run_logged(
            as_root("install")?
                .args(["-m", "644", "-t"])
                .arg(&dir)
                .args(&files),
            log,
        )?;
    }
    Ok(())
}
