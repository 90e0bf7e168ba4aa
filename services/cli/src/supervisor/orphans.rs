//! What a supervisor that was killed left behind. The kernel has already asked the children to end
//! (`PR_SET_PDEATHSIG`); here we wait for that, and end by force what did not.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::process::Process;
use super::record;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::rabbitmq;

/// Stops every left-over server of this installation. To be called while no supervisor runs.
pub fn stop(layout: &Layout) -> Result<()> {
    let record_file = layout.run_dir().join("parts.json");
    let mut left: Vec<(String, Process)> = record::read(&record_file)
        .into_iter()
        .filter_map(|(name, state)| Some((name, state.process?)))
        .collect();
    left.extend(postmaster(layout).map(|process| ("postgres".to_owned(), process)));
    for (name, process) in left {
        if process.is_alive() {
            println!(
                "  stopping {name} (pid {}), which an earlier supervisor left behind",
                process.pid
            );
            let (signal, patience) = last_request(&name);
            process.end(signal, patience);
        }
    }
    if record_file.exists() {
        // RabbitMQ's port mapper is nobody's child.
        if let Some(ports) = Ports::recorded(&layout.ports_file()) {
            rabbitmq::stop_port_mapper(ports.rabbitmq.epmd);
        }
        std::fs::remove_file(record_file).context("removing the record of the parts")?;
    }
    Ok(())
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
    layout.run_dir().join("parts.json").exists()
}

/// The server that runs in our data directory, by its own pid file: whoever started it.
fn postmaster(layout: &Layout) -> Option<Process> {
    let data = layout.postgres_dir().join("data");
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let process = Process::of(text.lines().next()?.trim().parse().ok()?)?;
    // After a crash and a reboot the pid may be anybody's; a postmaster works in its data
    // directory.
    let works_in = std::fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
    (works_in == std::fs::canonicalize(data).ok()?).then_some(process)
}
