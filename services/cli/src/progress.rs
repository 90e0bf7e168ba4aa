//! One line per stage: its name, how long it took, what happened.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::output;

/// How often a line tells how far a stage is, where no line counts the seconds.
const BETWEEN_LINES: Duration = Duration::from_secs(15);

/// A stage that is running. On a terminal its line counts the seconds.
pub struct Stage {
    name: &'static str,
    started: Instant,
    ticker: Option<Ticker>,
    last_line: Cell<Instant>,
}

struct Ticker {
    finished: Sender<()>,
    thread: JoinHandle<()>,
    doing: Arc<Mutex<String>>,
}

impl Stage {
    /// Begins a stage.
    pub fn begin(name: &'static str) -> Self {
        let started = Instant::now();
        let ticker = std::io::stdout()
            .is_terminal()
            .then(|| Ticker::start(name, started));
        Self {
            name,
            started,
            ticker,
            last_line: Cell::new(started),
        }
    }

    /// Says what a long stage is about to do, where no line counts the seconds (in a CI log).
    pub fn note(&self, text: &str) {
        if self.ticker.is_none() {
            say!("  {:<15}          {text} ...", self.name);
        }
    }

    /// Says how far the stage is: in the line that counts the seconds, or now and then in one of
    /// its own.
    pub fn progress(&self, text: String) {
        if let Some(ticker) = &self.ticker {
            *ticker.doing.lock().unwrap_or_else(PoisonError::into_inner) = text;
        } else if self.last_line.get().elapsed() >= BETWEEN_LINES {
            self.last_line.set(Instant::now());
            self.note(&text);
        }
    }

    /// Ends the stage; gives its value on, or its error with the stage's name.
    pub fn end<T>(self, result: Result<(T, String)>) -> Result<T> {
        let elapsed = self.started.elapsed();
        if let Some(ticker) = self.ticker {
            ticker.stop();
        }
        match result {
            Ok((value, what)) => {
                say!("{}", line(self.name, elapsed, &what));
                Ok(value)
            }
            Err(error) => {
                say!("{}", line(self.name, elapsed, "failed"));
                Err(error).with_context(|| format!("{} failed", self.name))
            }
        }
    }
}

/// Runs one stage that does not await.
pub fn stage<T>(name: &'static str, work: impl FnOnce(&Stage) -> Result<(T, String)>) -> Result<T> {
    let stage = Stage::begin(name);
    let result = work(&stage);
    stage.end(result)
}

impl Ticker {
    fn start(name: &'static str, started: Instant) -> Self {
        let (finished, wait) = channel();
        let doing = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&doing);
        let thread = std::thread::spawn(move || tick(name, started, &shown, &wait));
        Self {
            finished,
            thread,
            doing,
        }
    }

    fn stop(self) {
        let _ = self.finished.send(());
        let _ = self.thread.join();
        output::print("\r\x1b[K");
    }
}

fn tick(name: &str, started: Instant, doing: &Mutex<String>, finished: &Receiver<()>) {
    loop {
        let what = doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = line(name, started.elapsed(), format!("{what} ...").trim_start());
        output::print(&format!("\r{line}\x1b[K"));
        match finished.recv_timeout(Duration::from_millis(100)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

fn line(name: &str, elapsed: Duration, what: &str) -> String {
    format!("  {name:<15} {:>6.1} s  {what}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_name_time_and_outcome() {
        assert_eq!(
            line("cluster", Duration::from_millis(1234), "running"),
            "  cluster            1.2 s  running"
        );
    }

    #[test]
    fn a_failed_stage_is_named_in_the_error() {
        let error = stage("python", |_| -> Result<((), String)> {
            anyhow::bail!("no venv")
        })
        .expect_err("failed");
        assert_eq!(format!("{error:#}"), "python failed: no venv");
    }
}
