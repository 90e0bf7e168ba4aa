//! Our own programs, copied to where the servers' users can read them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bridges::{BRIDGES, Bridge};
use crate::hash::file_sha256;

/// The programs that the supervisor runs, itself included.
pub fn names() -> Vec<String> {
    let own = ["devart", "devart-api"].map(str::to_owned);
    own.into_iter()
        .chain(BRIDGES.iter().map(Bridge::program))
        .collect()
}

/// Copies those that differ from their copy; gives their names.
pub fn copy(built: &Path, to: &Path) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for program in names() {
        if copy_if_changed(&built.join(&program), &to.join(&program))? {
            changed.push(program);
        }
    }
    Ok(changed)
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    if to.exists() && file_sha256(from)? == file_sha256(to)? {
        // One that a narrow umask closed is opened.
        open_to_all(to)?;
        return Ok(false);
    }
    let draft = to.with_extension("new");
    std::fs::copy(from, &draft).with_context(|| format!("copying {}", from.display()))?;
    open_to_all(&draft)?;
    // A running program cannot be written over, but its name can be given to another file.
    std::fs::rename(&draft, to).with_context(|| format!("replacing {}", to.display()))?;
    Ok(true)
}

/// Each server's user runs it.
fn open_to_all(program: &Path) -> Result<()> {
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("setting the mode of {}", program.display()))
}
