//! pgvector: Debian's package where there is one, else built from Debian's own source package.
//!
//! Debian 12 has no pgvector. The next release has its source, which builds against any Postgres. The machine's apt
//! configuration is only read: the source entry lives in a temporary directory with lists of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::postgres::Postgres;
use crate::progress::Stage;
use crate::random;
use crate::shell::{as_root, run_logged};

/// The Debian release whose source we take.
const RELEASE: &str = "trixie";

/// Makes pgvector available to this Postgres.
pub fn ensure(postgres: Postgres, stage: &Stage, log: &Path) -> Result<((), String)> {
    if is_installed(postgres) {
        return Ok(((), "current".to_owned()));
    }
    let package = format!("postgresql-{}-pgvector", postgres.major);
    if packages::is_available(&package) {
        stage.note(&format!("installing {package}"));
        packages::install(std::slice::from_ref(&package), log)?;
        return Ok(((), format!("installed {package}")));
    }
    stage.note("building from Debian's source package");
    let work = std::env::temp_dir().join(format!("devart-pgvector-{}", random::word(8)));
    std::fs::create_dir(&work).context("making a directory for the build")?;
    let built = build(postgres, &work, log);
    let _ = std::fs::remove_dir_all(&work);
    built.context("could not build pgvector from Debian's source package")?;
    Ok(((), "built from Debian's source package".to_owned()))
}

/// Whether this Postgres has pgvector.
pub fn is_installed(postgres: Postgres) -> bool {
    postgres.has_library("vector") && postgres.extension_dir().join("vector.control").exists()
}

fn build(postgres: Postgres, work: &Path, log: &Path) -> Result<()> {
    fetch_source(work, log)?;
    let source = unpacked_source(work)?;
    let pg_config = format!("PG_CONFIG={}", postgres.bin("pg_config").display());
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

fn fetch_source(work: &Path, log: &Path) -> Result<()> {
    let parts = work.join("sources");
    for dir in [
        &parts,
        &work.join("lists/partial"),
        &work.join("cache/archives/partial"),
    ] {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let mirror = Mirror::of_this_machine()?;
    std::fs::write(parts.join("source.sources"), mirror.source_entry())
        .context("writing the source entry")?;
    run_logged(apt_get(work).arg("update"), log)?;
    run_logged(apt_get(work).args(["source", "pgvector"]), log)
}

/// apt-get with lists, cache and sources of its own; needs no rights and leaves nothing behind.
fn apt_get(work: &Path) -> Command {
    let option = |name: &str, value: PathBuf| format!("-o{name}={}", value.display());
    let mut command = Command::new("apt-get");
    command
        .current_dir(work)
        .env("LC_ALL", "C.UTF-8")
        .arg("-q")
        .arg("-oDir::Etc::sourcelist=/dev/null")
        .arg(option("Dir::Etc::sourceparts", work.join("sources")))
        .arg(option("Dir::State::lists", work.join("lists")))
        .arg(option("Dir::Cache", work.join("cache")))
        // The sandbox user of apt cannot enter a private temporary directory.
        .arg("-oAPT::Sandbox::User=root");
    command
}

fn unpacked_source(work: &Path) -> Result<PathBuf> {
    std::fs::read_dir(work)
        .context("reading the build directory")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("vector.control").exists())
        .context("the source package did not unpack")
}

/// Where this machine gets Debian from, and the key that signs it.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

impl Mirror {
    fn of_this_machine() -> Result<Self> {
        source_files()
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .find_map(|text| Self::parse(&text))
            .context("found no Debian mirror in /etc/apt; is this Debian?")
    }

    /// The first mirror of the main archive in a sources file, in either of apt's two formats.
    fn parse(text: &str) -> Option<Self> {
        Self::parse_paragraphs(text).or_else(|| text.lines().find_map(Self::parse_line))
    }

    fn parse_paragraphs(text: &str) -> Option<Self> {
        text.split("\n\n").find_map(|paragraph| {
            let field = |name: &str| {
                paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(str::trim)
            };
            let uri = field("URIs")?
                .split_whitespace()
                .find(|uri| is_main_archive(uri))?;
            Some(Self {
                uri: uri.to_owned(),
                signed_by: field("Signed-By")
                    .filter(|it| !it.is_empty())
                    .map(str::to_owned),
            })
        })
    }

    fn parse_line(line: &str) -> Option<Self> {
        let rest = line
            .trim()
            .strip_prefix("deb")?
            .trim_start_matches("-src")
            .trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let uri = rest
            .split_whitespace()
            .next()
            .filter(|uri| is_main_archive(uri))?;
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        Some(Self {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        })
    }

    fn source_entry(&self) -> String {
        let signed_by = self
            .signed_by
            .as_ref()
            .map(|key| format!("Signed-By: {key}\n"))
            .unwrap_or_default();
        format!(
            "Types: deb-src\nURIs: {}\nSuites: {RELEASE}\nComponents: main\n{signed_by}",
            self.uri
        )
    }
}

/// Mirrors keep the release archive under a path that ends in `/debian`; security and third parties do not.
fn is_main_archive(uri: &str) -> bool {
    uri.trim_end_matches('/').ends_with("/debian")
}

fn source_files() -> Vec<PathBuf> {
    let parts = std::fs::read_dir("/etc/apt/sources.list.d");
    let mut files: Vec<PathBuf> = parts
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|it| it == "sources" || it == "list")
        })
        .collect();
    files.sort();
    files.insert(0, PathBuf::from("/etc/apt/sources.list"));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_the_paragraph_format() {
        let text = "Types: deb\n# a note\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n";
        let mirror = Mirror::parse(text).expect("a mirror");
        assert_eq!(mirror.uri, "http://mirror.example/debian");
        assert!(mirror.source_entry().contains("Types: deb-src\n"));
        assert!(mirror.source_entry().contains("Signed-By: /k.gpg\n"));
    }

    #[test]
    fn the_mirror_is_read_from_the_line_format() {
        let text = "# old\ndeb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian/ bookworm main\n";
        let mirror = Mirror::parse(text).expect("a mirror");
        assert_eq!(mirror.uri, "https://mirror.example/debian/");
        assert_eq!(mirror.signed_by.as_deref(), Some("/k.gpg"));
    }

    #[test]
    fn other_peoples_archives_are_passed_over() {
        assert_eq!(
            Mirror::parse("deb https://packages.example/cloud-sdk stable main\n"),
            None
        );
        assert_eq!(
            Mirror::parse("Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x\n"),
            None
        );
    }
}
