//! Running the tools of the set-up: their output goes to a log, of which a failure shows the end; some need root.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// How much of the log a failure shows.
const SHOWN_LINES: usize = 25;

/// Runs a command to its end with its output appended to `log`.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = format!("{command:?}");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    writeln!(file, "\n$ {shown}").context("writing the log")?;
    let start = file.metadata().context("reading the log's size")?.len();
    let errors = file.try_clone().context("sharing the log")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    if status.success() {
        return Ok(());
    }
    bail!(
        "{} ended with {status}; the end of {}:\n{}",
        command.get_program().display(),
        log.display(),
        tail(log, start)
    )
}

fn tail(log: &Path, start: u64) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let ours = text
        .get(usize::try_from(start).unwrap_or(0)..)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(ours);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..]
        .iter()
        .map(|line| format!("    {line}\n"))
        .collect()
}

/// A command with root's rights: as root itself, else through sudo.
pub fn as_root(program: &str) -> Result<Command> {
    if geteuid().is_root() {
        return Ok(Command::new(program));
    }
    if !Path::new("/usr/bin/sudo").exists() {
        bail!("this needs root's rights and there is no sudo: run it as root, or install sudo");
    }
    let mut sudo = Command::new("/usr/bin/sudo");
    sudo.arg("-n");
    if !can_sudo_silently() {
        ask_for_password()?;
    }
    sudo.arg(program);
    Ok(sudo)
}

fn can_sudo_silently() -> bool {
    let status = Command::new("/usr/bin/sudo")
        .args(["-n", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Lets sudo ask once; it remembers the answer for the commands that follow.
fn ask_for_password() -> Result<()> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() {
        bail!(
            "this needs root's rights, and sudo would ask for a password: run `sudo -v` first, or run as root"
        );
    }
    let status = Command::new("/usr/bin/sudo")
        .arg("-v")
        .status()
        .context("starting sudo")?;
    if !status.success() {
        bail!(
            "sudo refused; run as root, or have an administrator install the packages that `devart doctor` names"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn a_failure_shows_the_end_of_its_own_output() {
        let log = std::env::temp_dir().join(format!("devart-log-{}", random::word(8)));
        run_logged(Command::new("echo").arg("earlier"), &log).expect("echo runs");
        let error = run_logged(Command::new("sh").args(["-c", "echo broken; exit 1"]), &log)
            .expect_err("it fails");
        std::fs::remove_file(&log).expect("the log is there");
        assert!(error.to_string().contains("broken"), "{error}");
        assert!(!error.to_string().contains("earlier"), "{error}");
    }
}
