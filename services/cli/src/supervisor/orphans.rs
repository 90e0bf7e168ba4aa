//! What a supervisor that was killed left behind. The kernel has already asked the children to end
//! (`PR_SET_PDEATHSIG`); here we wait for that, and end by force what did not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::process::Process;
use super::record::{self, Recorded};
use crate::layout::Layout;
use crate::ports::Ports;
use crate::run_as::ServerUser;
use crate::{rabbitmq, whose};

/// Stops every left-over server of this installation; gives the names of those that had to be ended
/// by force. To be called while no supervisor runs.
pub fn stop(layout: &Layout) -> Result<Vec<String>> {
    let record_file = record_file(layout);
    let recorded = record::read(&record_file);
    let other = recorded.as_ref().and_then(|it| other_clone(it, layout));
    let mut left = Vec::new();
    match (recorded, &other) {
        (Some(recorded), None) => left.extend(left_over(recorded, layout)),
        (_, Some(other)) => say!(
            "  leaving the servers of the clone in {} alone, of which this clone is a copy",
            other.display()
        ),
        (None, None) => {}
    }
    left.extend(postmaster(layout).map(|process| ("postgres".to_owned(), process)));
    let forced = end(left);
    if record_file.exists() {
        // RabbitMQ's port mapper is nobody's child.
        if let Some(ports) = Ports::recorded(&layout.ports_file()).filter(|_| other.is_none()) {
            rabbitmq::stop_port_mapper(ports.rabbitmq.epmd);
        }
        std::fs::remove_file(record_file).context("removing the record of the parts")?;
    }
    Ok(forced)
}

/// The clone whose servers the record is about, if it is not this one.
fn other_clone(recorded: &Recorded, layout: &Layout) -> Option<PathBuf> {
    match &recorded.clone {
        Some(clone) => (!whose::is_ours(clone, &layout.repo)).then(|| clone.clone()),
        None => layout.state_of_another(),
    }
}

/// The record of an earlier release proves nothing of its processes: those count that have to do with
/// this installation's state.
fn left_over(recorded: Recorded, layout: &Layout) -> Vec<(String, Process)> {
    let is_proof = recorded.clone.is_some();
    let state = layout.resolved_state();
    let mut processes = recorded.processes();
    processes.retain(|(_, process)| is_proof || has_to_do_with(*process, &state));
    processes
}

/// Whether the process was started with this directory in its command, or is a program in it.
fn has_to_do_with(process: Process, state: &Path) -> bool {
    let of = |file: &str| format!("/proc/{}/{file}", process.pid);
    let program = std::fs::read_link(of("exe")).unwrap_or_default();
    let state = state.as_os_str().as_encoded_bytes();
    program.as_os_str().as_encoded_bytes().starts_with(state)
        || ["cmdline", "environ"].iter().any(|file| {
            let text = std::fs::read(of(file)).unwrap_or_default();
            text.windows(state.len()).any(|it| it == state)
        })
}

/// Gives the names of those that had to be ended by force.
fn end(left: Vec<(String, Process)>) -> Vec<String> {
    let mut forced = Vec::new();
    for (name, process) in left {
        if process.is_alive() {
            say!(
                "  stopping {name} (pid {}), which an earlier supervisor left behind",
                process.pid
            );
            let (signal, patience) = last_request(&name);
            if process.end(signal, patience) {
                forced.push(name);
            }
        }
    }
    forced
}

/// How to ask, and for how long. Only Postgres and RabbitMQ have something to write out; what the
/// API was doing, the database undoes.
fn last_request(name: &str) -> (Signal, Duration) {
    match name {
        "postgres" => (Signal::SIGINT, Duration::from_secs(60)),
        "rabbitmq" => (Signal::SIGTERM, Duration::from_secs(30)),
        _ => (Signal::SIGTERM, Duration::from_secs(2)),
    }
}

/// Whether a killed supervisor left a record: what holds our ports is then probably ours.
pub fn may_exist(layout: &Layout) -> bool {
    record::read(&record_file(layout)).is_some_and(|it| other_clone(&it, layout).is_none())
}

fn record_file(layout: &Layout) -> PathBuf {
    layout.run_dir().join("parts.json")
}

/// The server that runs in our data directory, by its own pid file: whoever started it.
fn postmaster(layout: &Layout) -> Option<Process> {
    if layout.state_of_another().is_some() {
        return None;
    }
    let user = ServerUser::for_server("postgres").ok()?;
    let data = layout.postgres_dir().join("data");
    let text = user.read(&data.join("postmaster.pid")).ok()?;
    let process = Process::of(text.lines().next()?.trim().parse().ok()?)?;
    // After a crash and a reboot the pid may be anybody's, and the file is the server's user's to
    // write; a postmaster works in its data directory, and is that user's.
    let works_in = std::fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
    let is_it = works_in == std::fs::canonicalize(data).ok()? && user.runs(process.pid);
    is_it.then_some(process)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::random;

    fn start(state: &Path) -> (Child, Process) {
        let mut command = Command::new("sleep");
        let child = command.arg("600").env("RABBITMQ_BASE", state).spawn();
        let child = child.expect("sleep");
        let pid = i32::try_from(child.id()).expect("a pid");
        (child, Process::of(pid).expect("it runs"))
    }

    #[test]
    fn what_an_earlier_release_left_behind_is_ended_if_it_is_of_this_installation() {
        let repo = std::env::temp_dir().join(format!("devart-orphans-{}", random::word(8)));
        let layout = Layout { repo };
        for dir in [layout.state_dir(), layout.run_dir()] {
            std::fs::create_dir_all(dir).expect("made");
        }
        let ((mut ours, our), (mut other, others)) = (
            start(&layout.resolved_state()),
            start(Path::new("/elsewhere")),
        );
        let part = |process: Process| serde_json::json!({"process": process, "restarts": 0, "last_exit": null});
        let record = serde_json::json!({"telegram": part(our), "api": part(others)});
        std::fs::write(record_file(&layout), record.to_string()).expect("written");
        assert_eq!(stop(&layout).expect("stopped"), [""; 0]);
        assert!(!our.is_alive() && others.is_alive());
        assert!(!record_file(&layout).exists());
        other.kill().expect("ended");
        for child in [&mut ours, &mut other] {
            child.wait().expect("reaped");
        }
        std::fs::remove_dir_all(&layout.repo).expect("removed");
    }
}
