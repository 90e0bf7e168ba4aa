//! Fingerprints of files and directories, to know whether something changed since it was last built.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256 of one file in hex.
pub fn file_sha256(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(hex::encode(Sha256::digest(&bytes)))
}

/// SHA-256 of a text in hex.
pub fn text_sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// SHA-256 over all files at or under `roots`: names and contents. Build output and hidden files do not count.
pub fn tree_sha256(roots: &[PathBuf]) -> Result<String> {
    let mut files = Vec::new();
    for root in roots {
        collect(root, &mut files)?;
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        let shown = roots
            .iter()
            .find_map(|root| file.strip_prefix(root.parent()?).ok())
            .unwrap_or(&file);
        hasher.update(shown.as_os_str().as_encoded_bytes());
        hasher.update([0]);
        hasher.update(file_sha256(&file)?);
    }
    Ok(hex::encode(hasher.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
        let path = entry
            .with_context(|| format!("reading {}", path.display()))?
            .path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let is_output = name.starts_with('.')
            || name == "target"
            || name == "__pycache__"
            || name.ends_with(".egg-info");
        if !is_output {
            collect(&path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn a_changed_or_renamed_file_changes_the_hash_and_build_output_does_not() {
        let dir = std::env::temp_dir().join(format!("devart-hash-{}", random::word(8)));
        std::fs::create_dir_all(dir.join("target")).expect("a directory");
        std::fs::write(dir.join("a"), "1").expect("a file");
        let hash = || tree_sha256(std::slice::from_ref(&dir)).expect("a hash");
        let first = hash();
        std::fs::write(dir.join("target/x"), "1").expect("a file");
        assert_eq!(hash(), first);
        std::fs::rename(dir.join("a"), dir.join("b")).expect("renamed");
        let renamed = hash();
        assert_ne!(renamed, first);
        std::fs::write(dir.join("b"), "2").expect("a file");
        assert_ne!(hash(), renamed);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
