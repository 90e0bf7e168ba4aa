//! The Python SDK's own tests, the examples' and the template's, against the real API and a real broker.

mod example_agent;
mod own_login;
mod suites;
mod surroundings;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tokio::process::Command;

fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents")
}

/// A program in the environment that `devart setup --tests` prepares, started in a folder of `agents`.
fn python(folder: &str) -> Result<Command> {
    let python = agents().join("../.devart/venv/bin/python");
    ensure!(
        python.exists(),
        "{} is missing: devart setup --tests",
        python.display()
    );
    let mut command = Command::new(python);
    command
        .current_dir(agents().join(folder))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}
