//! What everybody on the machine can read of a process: its arguments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Notes the arguments of all processes, again and again, until it is asked what it saw.
pub struct Watch {
    has_ended: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    pub fn begin() -> Self {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = has_ended.clone();
        let thread = thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !ends.load(Ordering::Relaxed) {
                seen.extend(of_all_processes());
                thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        Self { has_ended, thread }
    }

    /// The arguments of each process that was seen, in one line.
    pub fn end(self) -> BTreeSet<String> {
        self.has_ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("nothing in it panics")
    }
}

fn of_all_processes() -> impl Iterator<Item = String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|arguments| String::from_utf8_lossy(&arguments).replace('\0', " "))
}
