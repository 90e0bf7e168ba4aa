//! Where the extension's code may reach past SPI: in pg_devart/src/pg, whose README says on what it relies.

use std::path::{Path, PathBuf};

use anyhow::Result;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pg_devart/src")
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Lines of code, not of comments, that have one of these words.
fn lines_with(file: &Path, words: &[&str]) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file)?;
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let found = code.filter(|line| words.iter().any(|word| line.contains(word)));
    Ok(found
        .map(|line| format!("{}: {line}", file.display()))
        .collect())
}

#[test]
fn only_pg_has_unsafe_code_and_knows_versions_of_postgres() -> Result<()> {
    let mut wrong = Vec::new();
    for file in rust_files(&source())? {
        if !file.starts_with(source().join("pg")) {
            wrong.extend(lines_with(
                &file,
                &["unsafe {", "unsafe fn", "unsafe impl", "cfg(feature"],
            )?);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn each_file_that_reaches_past_spi_has_its_line_in_the_readme() -> Result<()> {
    let readme = std::fs::read_to_string(source().join("pg/README.md"))?;
    for file in rust_files(&source().join("pg"))? {
        let name = file
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        assert!(
            name == "mod.rs" || readme.contains(&format!("`{name}`")),
            "{name}"
        );
    }
    Ok(())
}
