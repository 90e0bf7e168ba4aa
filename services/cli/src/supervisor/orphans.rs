//! What a supervisor that was killed left behind. The kernel has already asked the children to end
//! (`PR_SET_PDEATHSIG`); here we wait for that, and end by force what did not.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::process::Process;
use super::record;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::run_as::ServerUser;
use crate::{rabbitmq, whose};

/// Stops every left-over server of this installation; gives the names of those that had to be ended
/// by force. To be called while no supervisor runs.
pub fn stop(layout: &Layout) -> Result<Vec<String>> {
    let record_file = record_file(layout);
    let recorded = record::read(&record_file);
    let is_ours = recorded
        .as_ref()
        .is_none_or(|it| whose::is_ours(&it.clone, &layout.repo));
    if let Some(it) = recorded.as_ref().filter(|_| !is_ours) {
        say!(
            "  leaving the servers of the clone in {} alone, of which this clone is a copy",
            it.clone.display()
        );
    }
    let mut left = recorded
        .filter(|_| is_ours)
        .map(|it| it.processes())
        .unwrap_or_default();
    left.extend(postmaster(layout).map(|process| ("postgres".to_owned(), process)));
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
    if record_file.exists() {
        // RabbitMQ's port mapper is nobody's child.
        if let Some(ports) = Ports::recorded(&layout.ports_file()).filter(|_| is_ours) {
            rabbitmq::stop_port_mapper(ports.rabbitmq.epmd);
        }
        std::fs::remove_file(record_file).context("removing the record of the parts")?;
    }
    Ok(forced)
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
    record::read(&record_file(layout)).is_some_and(|it| whose::is_ours(&it.clone, &layout.repo))
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
