//! Log files that stay modest: at 10 MiB a file is moved aside, and one old one is kept.
//!
//! Whatever goes wrong with a log costs lines and nothing else: the server that writes them goes on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::logs::aside;

const LARGEST: u64 = 10 * 1024 * 1024;

/// One growing log.
pub struct Log {
    path: PathBuf,
    largest: u64,
    /// None before the first line and after each trouble: the next line opens it again.
    file: Option<(File, u64)>,
    /// How many lines are missing at its end.
    lost: u64,
}

impl Log {
    /// The log at `path`; its first line opens or continues it.
    pub fn at(path: PathBuf) -> Self {
        Self::with_limit(path, LARGEST)
    }

    fn with_limit(path: PathBuf, largest: u64) -> Self {
        Self {
            path,
            largest,
            file: None,
            lost: 0,
        }
    }

    /// Appends one line, or loses it. A line that comes after lost ones says how many they are.
    pub fn line(&mut self, text: &str) {
        let text = match self.lost {
            0 => format!("{text}\n"),
            // The last one may have been written in part.
            lost => format!("\n({lost} lines were lost: the log could not be written)\n{text}\n"),
        };
        match self.append(&text) {
            Ok(()) => self.lost = 0,
            Err(error) => {
                self.file = None;
                self.lost += 1;
                if self.lost == 1 {
                    warn!("{}: a line was lost: {error:#}", self.path.display());
                }
            }
        }
    }

    fn append(&mut self, text: &str) -> Result<()> {
        if self
            .file
            .as_ref()
            .is_some_and(|(_, size)| *size >= self.largest)
        {
            self.file = None;
            std::fs::rename(&self.path, aside(&self.path)).context("moving the full log aside")?;
        }
        let (file, size) = match &mut self.file {
            Some(open) => open,
            none => none.insert(open(&self.path)?),
        };
        file.write_all(text.as_bytes()).context("writing the log")?;
        *size += text.len() as u64;
        Ok(())
    }
}

fn open(path: &PathBuf) -> Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    let size = file.metadata().context("reading the log's size")?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn temporary() -> PathBuf {
        std::env::temp_dir().join(format!("devart-log-{}.log", random::word(8)))
    }

    fn read(path: &std::path::Path) -> String {
        std::fs::read_to_string(path).expect("the log")
    }

    #[test]
    fn a_full_log_is_moved_aside_once() {
        let path = temporary();
        let mut log = Log::with_limit(path.clone(), 10);
        for line in ["first line", "second line", "third line"] {
            log.line(line);
        }
        assert_eq!(read(&path), "third line\n");
        assert_eq!(read(&aside(&path)), "second line\n");
        std::fs::remove_file(aside(&path)).expect("removed");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn lines_are_lost_while_the_disk_is_full_and_counted_afterwards() {
        let path = temporary();
        std::os::unix::fs::symlink("/dev/full", &path).expect("linked");
        let mut log = Log::at(path.clone());
        log.line("one");
        log.line("two");
        std::fs::remove_file(&path).expect("there is room again");
        log.line("three");
        log.line("four");
        let text = read(&path);
        assert!(text.contains("(2 lines were lost"), "{text}");
        assert!(text.ends_with("\nthree\nfour\n"), "{text}");
        std::fs::remove_file(path).expect("removed");
    }
}
