//! What the supervisor knows of its parts, in a file: `devart status` shows it, and after a `kill
//! -9` of the supervisor the next `devart up` finds what was left behind. The file names the clone
//! whose servers they are, since it may be copied with the clone, and the boot of the machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// One part as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartState {
    /// The running process, if any.
    pub process: Option<Process>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
    /// It was asked to end.
    pub stopping: bool,
    /// It did not end when it was asked to.
    pub is_forced: bool,
}

/// All parts by name.
pub type PartStates = BTreeMap<String, PartState>;

/// The content of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recorded {
    /// The clone whose servers these are; earlier releases did not write it down.
    pub clone: Option<PathBuf>,
    /// The boot of the machine that pids and start times are of; neither that.
    boot: Option<String>,
    /// Its servers.
    pub parts: PartStates,
}

impl Recorded {
    /// The processes that may still run, by part: none after the machine was started again.
    pub fn processes(self) -> Vec<(String, Process)> {
        if self.boot.is_some_and(|it| it != boot()) {
            return Vec::new();
        }
        let parts = self.parts.into_iter();
        parts
            .filter_map(|(name, state)| Some((name, state.process?)))
            .collect()
    }
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// The file and its current content, shared by the supervising tasks of one thread.
#[derive(Debug, Clone)]
pub struct Record {
    path: Rc<PathBuf>,
    content: Rc<RefCell<Recorded>>,
}

impl Record {
    /// An empty record of a clone's servers that will be written to `path`.
    pub fn at(path: PathBuf, clone: PathBuf) -> Self {
        let content = Recorded {
            clone: Some(clone),
            boot: Some(boot()),
            parts: PartStates::new(),
        };
        Self {
            path: Rc::new(path),
            content: Rc::new(RefCell::new(content)),
        }
    }

    /// Changes one part's state and writes the file.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut PartState)) {
        change(
            self.content
                .borrow_mut()
                .parts
                .entry(name.to_owned())
                .or_default(),
        );
        if let Err(error) = self.write() {
            warn!("could not record the state of {name}: {error:#}");
        }
    }

    fn write(&self) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&*self.content.borrow()).context("writing the states")?;
        let draft = self.path.with_extension("new");
        std::fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        std::fs::rename(&draft, &*self.path)
            .with_context(|| format!("replacing {}", self.path.display()))
    }

    /// The parts that did not end when they were asked to.
    pub fn forced(&self) -> Vec<String> {
        let content = self.content.borrow();
        let forced = content.parts.iter().filter(|(_, state)| state.is_forced);
        forced.map(|(name, _)| name.clone()).collect()
    }

    /// Removes the file: everything was stopped in order.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_file(&*self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the record; none when there is none or it is unreadable.
pub fn read(path: &Path) -> Option<Recorded> {
    let text = std::fs::read_to_string(path).ok()?;
    serde_json::from_str(&text).ok().or_else(|| earlier(&text))
}

/// As earlier releases wrote it: the parts and nothing else.
fn earlier(text: &str) -> Option<Recorded> {
    let parts = serde_json::from_str(text).ok()?;
    Some(Recorded {
        clone: None,
        boot: None,
        parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn a_record_of_an_earlier_release_is_read() {
        let path = std::env::temp_dir().join(format!("devart-record-{}", random::word(8)));
        let text = r#"{"rabbitmq": {"process": {"pid": 7, "started": 42}, "restarts": 1,
                       "last_exit": null}}"#;
        std::fs::write(&path, text).expect("written");
        let recorded = read(&path).expect("a record");
        assert_eq!(recorded.clone, None);
        let process = Process {
            pid: 7,
            started: 42,
        };
        assert_eq!(recorded.processes(), [("rabbitmq".to_owned(), process)]);
        std::fs::write(&path, "neither").expect("written");
        assert!(read(&path).is_none());
        std::fs::remove_file(path).expect("removed");
    }
}
