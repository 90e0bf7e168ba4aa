//! Telling processes apart: a pid alone may have been given to somebody else since.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long a process may outlive a SIGKILL.
pub const FORCE_PATIENCE: Duration = Duration::from_secs(10);

/// A process, named so that its pid's next owner is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        // A zombie has ended; it only waits to be noticed.
        (state != "Z").then_some(Self { pid, started })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Asks it to end, waits, and ends it by force when it did not; gives whether that was needed.
    pub fn end(self, signal: Signal, patience: Duration) -> bool {
        if self.ends_by(signal, patience) {
            return false;
        }
        // What even this does not end is left to the kernel.
        self.ends_by(Signal::SIGKILL, FORCE_PATIENCE);
        true
    }

    fn ends_by(self, signal: Signal, patience: Duration) -> bool {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
        let started = Instant::now();
        while self.is_alive() && started.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(50));
        }
        !self.is_alive()
    }
}

/// State and start time from `/proc/PID/stat`. The name in the second field may hold blanks and
/// brackets.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Fields 3 and 22 of proc(5).
    Some((*fields.first()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_strange_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 10";
        assert_eq!(parse_stat(stat), Some(("S", 4242)));
    }

    #[test]
    fn an_ended_process_is_not_alive_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let process = Process::of(i32::try_from(child.id()).expect("a pid")).expect("it runs");
        assert!(process.is_alive());
        process.end(Signal::SIGTERM, Duration::from_secs(5));
        assert!(!process.is_alive());
        child.wait().expect("reaped");
    }
}
