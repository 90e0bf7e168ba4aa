//! Running the tools of the set-up: their output goes to a log, of which a failure shows the end; some need root.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// How much of the log a failure shows.
const SHOWN_LINES: usize = 25;

/// Runs a command to its end with its output appended to `log`.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = open_log(command, log)?;
    let start = length(&file)?;
    let errors = file.try_clone().context("sharing the log")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    judge(command, status, log, start)
}

/// Opens the log for appending and writes the command into it.
fn open_log(command: &Command, log: &Path) -> Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    writeln!(file, "\n$ {command:?}").context("writing the log")?;
    Ok(file)
}

fn length(file: &File) -> Result<u64> {
    Ok(file.metadata().context("reading the log's size")?.len())
}

/// An error with the end of the log, from `start` on, unless the command succeeded.
fn judge(command: &Command, status: ExitStatus, log: &Path, start: u64) -> Result<()> {
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

/// As [`run_logged`]; `watch` sees each line of what the command says to standard error, also one
/// that is written over (it ends with a carriage return), and those do not go to the log.
pub fn run_watched(command: &mut Command, log: &Path, mut watch: impl FnMut(&str)) -> Result<()> {
    let mut file = open_log(command, log)?;
    let start = length(&file)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("sharing the log")?)
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let errors = child.stderr.take().context("no standard error")?;
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while let Some(kept) = next_line(&mut errors, &mut line)? {
        watch(&String::from_utf8_lossy(&line));
        if kept && !line.is_empty() {
            line.push(b'\n');
            file.write_all(&line).context("writing the log")?;
        }
        line.clear();
    }
    let status = child.wait().context("waiting for a command")?;
    judge(command, status, log, start)
}

/// Reads up to a line feed or carriage return into `line`; gives whether the line was finished
/// rather than written over, none at the end.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> Result<Option<bool>> {
    loop {
        let seen = from.fill_buf().context("reading what a command says")?;
        if seen.is_empty() {
            return Ok((!line.is_empty()).then_some(true));
        }
        let end = seen.iter().position(|it| matches!(it, b'\n' | b'\r'));
        let text = &seen[..end.unwrap_or(seen.len())];
        line.extend_from_slice(text);
        let finished = end.map(|at| seen[at] == b'\n');
        let used = text.len() + usize::from(finished.is_some());
        from.consume(used);
        if finished.is_some() {
            return Ok(finished);
        }
    }
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
    fn a_watched_command_shows_lines_that_are_written_over_but_does_not_log_them() {
        let log = std::env::temp_dir().join(format!("devart-log-{}", random::word(8)));
        let script = r"printf 'one\rtwo\rthree\nfour' >&2; echo out";
        let mut seen = Vec::new();
        run_watched(Command::new("sh").args(["-c", script]), &log, |line| {
            seen.push(line.to_owned());
        })
        .expect("it runs");
        let text = std::fs::read_to_string(&log).expect("the log is there");
        let failed = run_watched(
            Command::new("sh").args(["-c", "echo broken >&2; exit 1"]),
            &log,
            |_| {},
        );
        std::fs::remove_file(&log).expect("the log is there");
        assert_eq!(seen, ["one", "two", "three", "four"]);
        assert!(
            text.contains("three\n") && text.contains("four\n"),
            "{text}"
        );
        assert!(text.contains("out\n") && !text.contains("two\n"), "{text}");
        let error = failed.expect_err("it fails").to_string();
        assert!(error.contains("    broken"), "{error}");
    }

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
