//! Source packages of Debian's, also of another release than this machine's.
//!
//! The machine's apt configuration is only read: the source entry lives in a directory of ours with
//! lists of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::random;
use crate::shell::run_logged;

/// Fetches and unpacks a source package of a release (`bookworm`), then hands its directory to
/// `build`. Everything is gone afterwards but what `build` installed.
pub fn with_source<T>(
    package: &str,
    release: &str,
    log: &Path,
    build: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let work = std::env::temp_dir().join(format!("devart-{package}-{}", random::word(8)));
    std::fs::create_dir(&work).context("making a directory for the build")?;
    let built = fetch(package, release, &work, log)
        .and_then(|()| build(&unpacked(&work)?))
        .with_context(|| format!("could not build {package} from Debian's source package"));
    let _ = std::fs::remove_dir_all(&work);
    built
}

fn fetch(package: &str, release: &str, work: &Path, log: &Path) -> Result<()> {
    let parts = work.join("sources");
    for dir in [
        &parts,
        &work.join("lists/partial"),
        &work.join("cache/archives/partial"),
    ] {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let mirror = Mirror::of_this_machine()?;
    std::fs::write(parts.join("source.sources"), mirror.source_entry(release))
        .context("writing the source entry")?;
    run_logged(apt_get(work).arg("update"), log)?;
    run_logged(apt_get(work).args(["source", package]), log)
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

/// The one directory that dpkg-source made: it has Debian's part in it.
fn unpacked(work: &Path) -> Result<PathBuf> {
    std::fs::read_dir(work)
        .context("reading the build directory")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("debian").is_dir())
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

    fn source_entry(&self, release: &str) -> String {
        let signed_by = self
            .signed_by
            .as_ref()
            .map(|key| format!("Signed-By: {key}\n"))
            .unwrap_or_default();
        format!(
            "Types: deb-src\nURIs: {}\nSuites: {release}\nComponents: main\n{signed_by}",
            self.uri
        )
    }
}

/// Mirrors keep the release archive under a path that ends in `/debian`; security and third parties
/// do not.
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
        let text = "Types: deb\n# a note\nURIs: http://mirror.example/debian\nSuites: bookworm\n\
                    Components: main\nSigned-By: /k.gpg\n";
        let mirror = Mirror::parse(text).expect("a mirror");
        assert_eq!(mirror.uri, "http://mirror.example/debian");
        assert!(mirror.source_entry("trixie").contains("Types: deb-src\n"));
        assert!(
            mirror
                .source_entry("trixie")
                .contains("Signed-By: /k.gpg\n")
        );
    }

    #[test]
    fn the_mirror_is_read_from_the_line_format() {
        let text = "# old\ndeb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian/ \
                    bookworm main\n";
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
