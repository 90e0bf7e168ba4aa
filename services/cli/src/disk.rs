//! Free disk space, asked before something large is made.

use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;

const MIB: u64 = 1024 * 1024;

/// Free space in MiB at `path` or its nearest parent that exists.
pub fn free_mib(path: &Path) -> Result<u64> {
    let existing = path
        .ancestors()
        .find(|it| it.exists())
        .context("no such path")?;
    let stat = statvfs(existing)
        .with_context(|| format!("asking for free space in {}", existing.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size() / MIB)
}

/// Fails with a sentence when less than `needed` MiB are free at `path`.
pub fn require(path: &Path, needed: u64, what: &str) -> Result<()> {
    let free = free_mib(path)?;
    if free < needed {
        bail!(
            "{what} needs about {needed} MiB, but only {free} MiB are free at {}; make room, or put it elsewhere (XDG_CACHE_HOME for builds)",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_more_than_there_is_names_the_place() {
        let error = require(Path::new("/tmp/not/there"), u64::MAX, "a test").expect_err("refused");
        assert!(error.to_string().contains("/tmp/not/there"), "{error}");
    }
}
