//! Files of `export NAME='value'` lines: a shell can source them and we can read them back.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Reads a file; a file that is not there is empty.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Writes a file in one step, so that a reader or a crash never meets half of it.
pub fn write(path: &Path, comment: &str, entries: &[(String, String)], mode: u32) -> Result<()> {
    require_lines(entries)?;
    let temporary = path.with_extension("new");
    // A leftover would keep its old mode.
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .with_context(|| format!("writing {}", temporary.display()))?;
    file.write_all(render(comment, entries).as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("replacing {}", path.display()))
}

/// Refuses what no line can hold. To be asked before anything is done with the values.
pub fn require_lines(entries: &[(String, String)]) -> Result<()> {
    for (name, value) in entries {
        if value.contains(['\n', '\r', '\0']) {
            bail!("{name} has a line end in its value, which the record .devart/env cannot hold");
        }
    }
    Ok(())
}

fn render(comment: &str, entries: &[(String, String)]) -> String {
    let mut text = format!("# {comment}\n");
    for (name, value) in entries {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    text
}

/// Single quotes, which the shell leaves alone entirely.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim().to_owned(), unquote(value.trim())))
}

fn unquote(value: &str) -> String {
    match value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        Some(inner) => inner.replace(r"'\''", "'"),
        None => value.trim_matches('"').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let entries = vec![
            ("A".to_owned(), "it's $HOME \"x\"".to_owned()),
            ("B".to_owned(), "a=b".to_owned()),
        ];
        let read = parse(&render("note", &entries));
        assert_eq!(read.into_iter().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn a_value_with_a_line_end_is_refused_by_name() {
        let path = std::env::temp_dir().join(format!("devart-env-{}", crate::random::word(8)));
        let entries = [("ADMIN_EMAIL".to_owned(), "a\nb@example.org".to_owned())];
        let error = write(&path, "note", &entries, 0o600).expect_err("refused");
        assert!(error.to_string().contains("ADMIN_EMAIL"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_shell_reads_the_same_values() {
        let text = render("note", &[("A".to_owned(), "it's $HOME `x`".to_owned())]);
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{text}printf %s \"$A\""))
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "it's $HOME `x`");
    }

    #[test]
    fn hand_written_lines_without_export_or_quotes_are_understood() {
        let read = parse("# c\nA=1\n\nexport B=\"two\"\n");
        assert_eq!(read.get("A").map(String::as_str), Some("1"));
        assert_eq!(read.get("B").map(String::as_str), Some("two"));
        assert_eq!(read.len(), 2);
    }
}
