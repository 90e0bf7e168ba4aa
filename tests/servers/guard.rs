//! What ends a server when the process that started it is gone.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Begins each script: ends the process `$pid` with a signal and waits until it is gone, half a minute
/// at most.
const END: &str = r#"
    end() {
        kill -"$1" "$pid" || return
        for _ in $(seq 300); do kill -0 "$pid" || return; sleep 0.1; done
        kill -KILL "$pid"
    }
    cat
"#;

/// Runs a script of the shell once this process is gone or drops what this gives.
///
/// Statics are never dropped, and a killed process drops nothing. So a shell waits for the end of its
/// input, which comes when this process ends in whatever way.
pub fn afterwards<S: AsRef<OsStr>>(
    script: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<Child> {
    Command::new("sh")
        .args(["-c", &format!("{END}{script}")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting a server's guard")
}
