//! Showing the logs under `.devart/log`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bridges::BRIDGES;
use crate::layout::Layout;

/// Which logs there are, for the command's help.
pub fn about() -> String {
    let bridges = BRIDGES.iter().map(|bridge| bridge.part);
    let parts: Vec<&str> = ["api", "postgres", "rabbitmq"]
        .into_iter()
        .chain(bridges)
        .collect();
    let parts = parts.join(", ");
    format!("Show the log of a part: {parts}, supervisor, setup")
}

/// The last lines of one part's log; a note when there is none.
pub fn tail(layout: &Layout, name: &str, lines: usize) -> String {
    let text = std::fs::read(layout.log_file(name)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    if all.is_empty() {
        return format!("    (no log in {})", layout.log_file(name).display());
    }
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| format!("    {line}\n"))
        .collect()
}

/// Prints the end of a log; with `follow`, also what is added, until interrupted.
pub fn show(layout: &Layout, name: &str, lines: usize, follow: bool) -> Result<()> {
    let path = layout.log_file(name);
    if !path.exists() {
        bail!(
            "there is no log of {name}; there are: {}",
            names(layout).join(" ")
        );
    }
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut output = std::io::stdout().lock();
    output
        .write_all(last_lines(&text, lines))
        .context("printing")?;
    if follow {
        follow_from(&path, text.len() as u64, &mut output)?;
    }
    Ok(())
}

fn follow_from(path: &Path, mut position: u64, output: &mut impl Write) -> Result<()> {
    loop {
        let length = std::fs::metadata(path)
            .map(|it| it.len())
            .unwrap_or(position);
        if length < position {
            // Moved aside because it was full: the new one starts at its beginning.
            position = 0;
        }
        if length > position {
            let mut file =
                File::open(path).with_context(|| format!("opening {}", path.display()))?;
            file.seek(SeekFrom::Start(position))
                .context("finding the place in the log")?;
            let mut added = Vec::new();
            file.read_to_end(&mut added).context("reading the log")?;
            position += added.len() as u64;
            output
                .write_all(&added)
                .and_then(|()| output.flush())
                .context("printing")?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let starts = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    match lines
        .checked_sub(1)
        .and_then(|skip| starts.clone().nth(skip))
    {
        Some(start) => &text[start..],
        None if lines == 0 => &[],
        None => text,
    }
}

/// The logs there are.
pub fn names(layout: &Layout) -> Vec<String> {
    let entries = std::fs::read_dir(layout.log_dir()).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_suffix(".log")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_lines() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb", 5), b"a\nb");
        assert_eq!(last_lines(b"a\nb\n", 0), b"");
    }
}
