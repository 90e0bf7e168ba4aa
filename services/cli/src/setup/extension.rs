//! pg_devart in Postgres' directories: its library, its control file and its SQL.
//!
//! The SQL is in the repository, so nothing of it is generated here. Building takes minutes, so it
//! is skipped when the sources and the installed files are those of the last build.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::hash::{file_sha256, text_sha256, tree_sha256};
use crate::layout::{Layout, cache_dir};
use crate::postgres::Postgres;
use crate::random;
use crate::shell::{as_root, run_logged};

const NAME: &str = "pg_devart";

/// Where the control file has the version, so that the workspace's manifest alone names it.
const VERSION_PLACE: &str = "@CARGO_VERSION@";

/// Whether the installed extension was built from the sources of this clone.
pub fn is_current(layout: &Layout, postgres: &Postgres) -> Result<bool> {
    if !postgres.has_library(NAME) {
        return Ok(false);
    }
    let remembered = std::fs::read_to_string(stamp_file(postgres)?).unwrap_or_default();
    Ok(remembered == stamp(&source_hash(layout)?, postgres)?)
}

/// Installs the library that cargo built, and the files that go with it.
pub fn install(layout: &Layout, postgres: &Postgres, built: &Path, log: &Path) -> Result<()> {
    let sources = source_hash(layout)?;
    let draft = std::env::temp_dir().join(format!("devart-{}", random::word(10)));
    std::fs::create_dir(&draft).context("making a directory for the extension's files")?;
    let installed = install_from(&draft, layout, postgres, built, log);
    let _ = std::fs::remove_dir_all(&draft);
    installed?;
    std::fs::write(stamp_file(postgres)?, stamp(&sources, postgres)?)
        .context("remembering the build")
}

fn install_from(
    draft: &Path,
    layout: &Layout,
    postgres: &Postgres,
    built: &Path,
    log: &Path,
) -> Result<()> {
    let library = draft.join(format!("{NAME}.so"));
    let from = built.join(format!("lib{NAME}.so"));
    std::fs::copy(&from, &library).with_context(|| format!("copying {}", from.display()))?;
    let control = draft.join(format!("{NAME}.control"));
    std::fs::write(&control, control_file(layout)?).context("writing the control file")?;
    let mut shared = sql_files(layout)?;
    shared.push(control);
    install_files(&[library], postgres.library_dir(), log)?;
    install_files(&shared, &postgres.extension_dir(), log)
}

/// `install` makes new files instead of writing into ones that a running server has mapped.
fn install_files(files: &[PathBuf], to: &Path, log: &Path) -> Result<()> {
    let mut install = as_root("install")?;
    install.args(["-m", "644", "-t"]).arg(to).args(files);
    run_logged(&mut install, log)
}

fn control_file(layout: &Layout) -> Result<String> {
    let path = layout.repo.join(NAME).join(format!("{NAME}.control"));
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.replace(VERSION_PLACE, env!("CARGO_PKG_VERSION")))
}

fn sql_files(layout: &Layout) -> Result<Vec<PathBuf>> {
    let dir = layout.repo.join(NAME).join("sql");
    let files = files_in(&dir)?;
    Ok(files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "sql"))
        .collect())
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
    files.sort();
    Ok(files)
}

/// One for each installation of Postgres, beside the builds, so that a second clone with the same
/// sources builds nothing.
fn stamp_file(postgres: &Postgres) -> Result<PathBuf> {
    let of = text_sha256(&postgres.pg_config().display().to_string());
    let name = format!("{NAME}-pg{}-{}.stamp", postgres.major, &of[..8]);
    Ok(cache_dir()?.join(name))
}

/// The sources, the version that this command writes, and every installed file: another clone, or
/// an older command, may have installed over ours.
fn stamp(sources: &str, postgres: &Postgres) -> Result<String> {
    let mut stamp = format!("version {}\nsources {sources}\n", env!("CARGO_PKG_VERSION"));
    for file in installed_files(postgres)? {
        stamp.push_str(&format!("{} {}\n", file.display(), file_sha256(&file)?));
    }
    Ok(stamp)
}

fn installed_files(postgres: &Postgres) -> Result<Vec<PathBuf>> {
    let mut files = files_in(&postgres.extension_dir())?;
    files.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(NAME))
    });
    files.push(postgres.library_dir().join(format!("{NAME}.so")));
    Ok(files)
}

fn source_hash(layout: &Layout) -> Result<String> {
    tree_sha256(&[
        layout.repo.join(NAME),
        layout.repo.join("Cargo.lock"),
        layout.repo.join("Cargo.toml"),
    ])
}
