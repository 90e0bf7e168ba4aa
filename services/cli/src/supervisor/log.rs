//! Log files that stay modest: at 10 MiB a file is moved aside, and one old one is kept.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

const LARGEST: u64 = 10 * 1024 * 1024;

/// One growing log.
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    largest: u64,
}

impl Log {
    /// Opens or continues the log at `path`.
    pub fn open(path: PathBuf) -> Result<Self> {
        Self::open_with(path, LARGEST)
    }

    fn open_with(path: PathBuf, largest: u64) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let size = file.metadata().context("reading the log's size")?.len();
        Ok(Self {
            path,
            file,
            size,
            largest,
        })
    }

    /// Appends one line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        if self.size >= self.largest {
            self.rotate()?;
        }
        let line = format!("{text}\n");
        self.file
            .write_all(line.as_bytes())
            .context("writing the log")?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, &old).context("moving the full log aside")?;
        *self = Self::open_with(self.path.clone(), self.largest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn a_full_log_is_moved_aside_once() {
        let path = std::env::temp_dir().join(format!("devart-log-{}.log", random::word(8)));
        let mut log = Log::open_with(path.clone(), 10).expect("a log");
        for line in ["first line", "second line", "third line"] {
            log.line(line).expect("written");
        }
        assert_eq!(
            std::fs::read_to_string(&path).expect("the log"),
            "third line\n"
        );
        let old = PathBuf::from(format!("{}.1", path.display()));
        assert_eq!(
            std::fs::read_to_string(&old).expect("the old log"),
            "second line\n"
        );
        std::fs::remove_file(path).expect("removed");
        std::fs::remove_file(old).expect("removed");
    }
}
