//! Showing the logs under `.devart/log`.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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

/// Where a full log is moved.
pub fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
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

/// Prints the end of a log; with `follow`, also what is added, until interrupted or nobody reads.
pub fn show(layout: &Layout, name: &str, lines: usize, follow: bool) -> Result<()> {
    let names = names(layout);
    if !names.iter().any(|it| it == name) {
        bail!(
            "there is no log of {name:?}; there are: {}",
            names.join(" ")
        );
    }
    let mut output = std::io::stdout().lock();
    match print(&layout.log_file(name), lines, follow, &mut output) {
        Err(error) if nobody_reads(&error) => Ok(()),
        result => result,
    }
}

fn nobody_reads(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|it| it.kind() == ErrorKind::BrokenPipe)
}

fn print(path: &Path, lines: usize, follow: bool, output: &mut impl Write) -> Result<()> {
    // From the log that was moved aside, too: a new one has few lines.
    let mut text = std::fs::read(aside(path)).unwrap_or_default();
    let mut followed = Followed::open(path)?;
    text.extend(followed.read_added()?);
    write(output, last_lines(&text, lines))?;
    if !follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(Duration::from_millis(200));
        write(output, &followed.next()?)?;
    }
}

fn write(output: &mut impl Write, text: &[u8]) -> Result<()> {
    output
        .write_all(text)
        .and_then(|()| output.flush())
        .context("printing")
}

/// A log that is being written, and moved aside whenever it is full.
struct Followed {
    path: PathBuf,
    file: File,
}

impl Followed {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
        })
    }

    /// What has come since the last look, also what went into a log that was moved aside meanwhile.
    fn next(&mut self) -> Result<Vec<u8>> {
        let mut added = self.read_added()?;
        let ours = identity(&self.metadata()?);
        let Ok(current) = open(&self.path) else {
            // Just moved aside; its successor is not there yet.
            return Ok(added);
        };
        if identity(&current.metadata().context("looking at the log")?) == ours {
            return Ok(added);
        }
        // Nothing is written to a log any more when it has a successor.
        added.extend(self.read_added()?);
        added.extend(skipped(&self.path, ours, &current)?);
        self.file = current;
        added.extend(self.read_added()?);
        Ok(added)
    }

    fn read_added(&mut self) -> Result<Vec<u8>> {
        let position = self
            .file
            .stream_position()
            .context("asking for the place")?;
        if self.metadata()?.len() < position {
            // Emptied by somebody.
            self.file.rewind().context("going back to its beginning")?;
        }
        read_rest(&mut self.file)
    }

    fn metadata(&self) -> Result<Metadata> {
        self.file.metadata().context("looking at the log")
    }
}

/// The log between the one that was followed and the current one, if there were two full ones since
/// the last look.
fn skipped(path: &Path, followed: (u64, u64), current: &File) -> Result<Vec<u8>> {
    let Ok(mut between) = open(&aside(path)) else {
        return Ok(Vec::new());
    };
    let is = identity(&between.metadata().context("looking at the log")?);
    let current = identity(&current.metadata().context("looking at the log")?);
    if is == followed || is == current {
        return Ok(Vec::new());
    }
    read_rest(&mut between)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn read_rest(file: &mut File) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).context("reading the log")?;
    Ok(text)
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
    use crate::random;

    #[test]
    fn the_last_lines_are_whole_lines() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb", 5), b"a\nb");
        assert_eq!(last_lines(b"a\nb\n", 0), b"");
    }

    /// A log that its writer moves aside when `rotate` is called.
    struct Written {
        path: PathBuf,
    }

    impl Written {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("devart-logs-{}", random::word(8)));
            std::fs::write(&path, "").expect("made");
            Self { path }
        }

        fn add(&self, text: &str) {
            let mut file = File::options()
                .append(true)
                .open(&self.path)
                .expect("it is there");
            file.write_all(text.as_bytes()).expect("written");
        }

        fn rotate(&self) {
            std::fs::rename(&self.path, aside(&self.path)).expect("moved aside");
            std::fs::write(&self.path, "").expect("made");
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(aside(&self.path));
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[test]
    fn nothing_is_lost_however_often_a_followed_log_is_moved_aside() {
        let log = Written::new();
        let mut followed = Followed::open(&log.path).expect("opened");
        let mut next = || String::from_utf8(followed.next().expect("read")).expect("text");
        log.add("1");
        assert_eq!(next(), "1");
        log.add("2");
        log.rotate();
        assert_eq!(next(), "2");
        log.add("3");
        log.rotate();
        log.add("4 is longer than what was read of its predecessor");
        assert_eq!(next(), "34 is longer than what was read of its predecessor");
        log.add("5");
        log.rotate();
        log.add("6");
        log.rotate();
        log.add("7");
        assert_eq!(next(), "567");
        assert_eq!(next(), "");
    }

    #[test]
    fn a_log_that_was_emptied_goes_on_from_its_beginning() {
        let log = Written::new();
        let mut followed = Followed::open(&log.path).expect("opened");
        log.add("a long line");
        followed.next().expect("read");
        std::fs::write(&log.path, "new").expect("written");
        assert_eq!(followed.next().expect("read"), b"new");
    }

    #[test]
    fn the_end_of_a_log_reaches_into_the_one_that_was_moved_aside() {
        let log = Written::new();
        log.add("one\ntwo\n");
        log.rotate();
        log.add("three\n");
        let mut output = Vec::new();
        print(&log.path, 2, false, &mut output).expect("printed");
        assert_eq!(output, b"two\nthree\n");
    }
}
