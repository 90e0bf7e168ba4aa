//! What the supervisor knows of its parts, in a file: `devart status` shows it, and after a `kill
//! -9` of the supervisor the next `devart up` finds what was left behind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// One part as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartState {
    /// The running process, if any.
    pub process: Option<Process>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
}

/// All parts by name.
pub type PartStates = BTreeMap<String, PartState>;

/// The file and its current content, shared by the supervising tasks of one thread.
#[derive(Debug, Clone)]
pub struct Record {
    path: Rc<PathBuf>,
    states: Rc<RefCell<PartStates>>,
}

impl Record {
    /// An empty record that will be written to `path`.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path: Rc::new(path),
            states: Rc::default(),
        }
    }

    /// Changes one part's state and writes the file.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut PartState)) {
        change(self.states.borrow_mut().entry(name.to_owned()).or_default());
        if let Err(error) = self.write() {
            eprintln!("could not record the state of {name}: {error:#}");
        }
    }

    fn write(&self) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&*self.states.borrow()).context("writing the states")?;
        let draft = self.path.with_extension("new");
        std::fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        std::fs::rename(&draft, &*self.path)
            .with_context(|| format!("replacing {}", self.path.display()))
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

/// Reads the record; empty when there is none or it is unreadable.
pub fn read(path: &Path) -> PartStates {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
