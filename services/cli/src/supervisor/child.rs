//! One supervised server.

use std::cell::RefCell;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::log::Log;
use super::process::{FORCE_PATIENCE, Process};
use super::record::Record;

/// A longer line of a server is cut into several.
const LONGEST_LINE: u64 = 64 * 1024;

/// What to run and how to stop it.
pub struct Part {
    /// Its name, also of its log.
    pub name: &'static str,
    /// Makes the command afresh for each start.
    pub command: Box<dyn Fn() -> Command>,
    /// The signal that asks it to end in order.
    pub stop_signal: Signal,
    /// How long it may take to end.
    pub patience: Duration,
    /// What to clean up after it was stopped.
    pub after_stop: Box<dyn Fn()>,
}

/// Keeps one part running.
pub struct Child {
    part: Part,
    log_dir: PathBuf,
    echo: bool,
    record: Record,
}

type SharedLog = Rc<RefCell<Log>>;

impl Child {
    /// A child that is not started yet.
    pub fn new(part: Part, log_dir: PathBuf, echo: bool, record: Record) -> Self {
        Self {
            part,
            log_dir,
            echo,
            record,
        }
    }

    /// Runs it until `stopped`, starting it again whenever it ends by itself.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let ended = match self.run_once(&mut stopped).await {
                Ok(None) => return,
                Ok(Some(status)) => describe(status),
                Err(error) => format!("{error:#}"),
            };
            let delay = backoff.after(started.elapsed());
            self.say(&format!(
                "ended: {ended}; starting it again in {:.1} s",
                delay.as_secs_f64()
            ));
            self.record.update(self.part.name, |state| {
                state.process = None;
                state.restarts += 1;
                state.last_exit = Some(ended);
            });
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = stopped.changed() => return,
            }
        }
    }

    /// One run. None when it was stopped on purpose.
    async fn run_once(&self, stopped: &mut watch::Receiver<bool>) -> Result<Option<ExitStatus>> {
        let log = self.log_dir.join(format!("{}.log", self.part.name));
        let log = Rc::new(RefCell::new(Log::at(log)));
        let mut child = self.spawn()?;
        let pid =
            i32::try_from(child.id().context("it ended at once")?).context("an impossible pid")?;
        self.record
            .update(self.part.name, |state| state.process = Process::of(pid));
        self.say(&format!("started, pid {pid}"));
        let pumps = [
            child.stdout.take().map(|it| self.pump(it, &log)),
            child.stderr.take().map(|it| self.pump(it, &log)),
        ];
        let ended = tokio::select! {
            status = child.wait() => Some(status.context("waiting for it")?),
            _ = stopped.changed() => {
                self.stop(&mut child, pid).await;
                None
            }
        };
        for pump in pumps.into_iter().flatten() {
            // Its own children may hold the pipe open; what they write from now on is not ours to
            // wait for.
            let _ = tokio::time::timeout(Duration::from_millis(500), pump).await;
        }
        Ok(ended)
    }

    fn spawn(&self) -> Result<tokio::process::Child> {
        let mut command = (self.part.command)();
        let signal = self.part.stop_signal as i32;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Not in our process group: Ctrl-C in the foreground is for us to pass on, in order.
            .process_group(0);
        // SAFETY: prctl is async-signal-safe. The kernel sends the signal when we die without
        // stopping the child.
        unsafe {
            command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, signal) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let shown = command.get_program().display().to_string();
        tokio::process::Command::from(command)
            .spawn()
            .with_context(|| format!("could not start {shown}"))
    }

    async fn stop(&self, child: &mut tokio::process::Child, pid: i32) {
        self.record
            .update(self.part.name, |state| state.stopping = true);
        let _ = kill(Pid::from_raw(pid), self.part.stop_signal);
        let ended = tokio::time::timeout(self.part.patience, child.wait()).await;
        let is_forced = ended.is_err();
        if is_forced {
            self.say("did not stop in time; ending it by force");
            let _ = tokio::time::timeout(FORCE_PATIENCE, child.kill()).await;
        }
        (self.part.after_stop)();
        self.record.update(self.part.name, |state| {
            state.process = None;
            state.stopping = false;
            state.is_forced = is_forced;
        });
        self.say("stopped");
    }

    /// Copies lines to the log until the pipe closes. Whatever becomes of the log, the pipe is read,
    /// so that the server does not stand still.
    fn pump(
        &self,
        pipe: impl AsyncRead + Unpin + 'static,
        log: &SharedLog,
    ) -> tokio::task::JoinHandle<()> {
        let (log, echo, name) = (Rc::clone(log), self.echo, self.part.name);
        tokio::task::spawn_local(async move {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            loop {
                line.clear();
                let mut limited = (&mut reader).take(LONGEST_LINE);
                let read = limited.read_until(b'\n', &mut line).await;
                if !read.is_ok_and(|read| read > 0) {
                    return;
                }
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end();
                log.borrow_mut().line(text);
                if echo {
                    say!("{name:<15} | {text}");
                }
            }
        })
    }

    /// A line in the supervisor's own log.
    fn say(&self, text: &str) {
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        say!("{now} {}: {text}", self.part.name);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn part(script: String) -> Part {
        Part {
            name: "test",
            command: Box::new(move || {
                let mut command = Command::new("sh");
                command.arg("-c").arg(&script);
                command
            }),
            stop_signal: Signal::SIGTERM,
            patience: Duration::from_secs(2),
            after_stop: Box::new(|| {}),
        }
    }

    /// Runs a script as a supervised child until `until` holds of its log, then stops it; gives log
    /// and last state.
    fn supervise(
        script: String,
        until: fn(&str) -> bool,
    ) -> (String, super::super::record::PartState) {
        let dir = temporary();
        let (log, state) = supervise_in(&dir, script, "test.log", until);
        std::fs::remove_dir_all(dir).expect("removed");
        (log, state)
    }

    fn temporary() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("devart-child-{}", random::word(8)));
        std::fs::create_dir(&dir).expect("a directory");
        dir
    }

    /// As [`supervise`], in a directory, until a file of it says something.
    fn supervise_in(
        dir: &std::path::Path,
        script: String,
        file: &str,
        until: fn(&str) -> bool,
    ) -> (String, super::super::record::PartState) {
        let record_file = dir.join("parts.json");
        let child = Child::new(
            part(script),
            dir.to_owned(),
            false,
            Record::at(record_file.clone(), dir.to_owned()),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        let log = local.block_on(&runtime, async {
            let (stop, stopped) = watch::channel(false);
            let task = tokio::task::spawn_local(child.run(stopped));
            let log = wait_for_log(&dir.join(file), until).await;
            stop.send(true).expect("the task listens");
            task.await.expect("it stopped");
            log
        });
        let state = super::super::record::read(&record_file)
            .and_then(|mut recorded| recorded.parts.remove("test"))
            .expect("a state");
        (log, state)
    }

    async fn wait_for_log(path: &std::path::Path, until: fn(&str) -> bool) -> String {
        for _ in 0..200 {
            let log = std::fs::read_to_string(path).unwrap_or_default();
            if until(&log) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "the log never said it: {}",
            std::fs::read_to_string(path).unwrap_or_default()
        );
    }

    #[test]
    fn a_child_that_dies_is_started_again() {
        let (_, state) = supervise("echo up; exit 3".to_owned(), |log| {
            log.matches("up").count() >= 2
        });
        assert!(state.restarts >= 1, "{state:?}");
        assert_eq!(state.last_exit.as_deref(), Some("exit code 3"));
    }

    #[test]
    fn a_child_is_stopped_with_its_signal_and_its_last_words_are_kept() {
        let script =
            "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done".to_owned();
        let (_, state) = supervise(script, |log| log.contains("up"));
        assert_eq!(state.restarts, 0);
        assert_eq!(state.process, None);
        assert!(!state.is_forced);
    }

    #[test]
    fn a_child_that_does_not_answer_is_ended_and_named() {
        let (_, state) = supervise("trap '' TERM; echo up; sleep 600".to_owned(), |log| {
            log.contains("up")
        });
        assert!(state.is_forced && state.process.is_none(), "{state:?}");
    }

    #[test]
    fn a_child_whose_log_cannot_be_written_goes_on() {
        let dir = temporary();
        std::os::unix::fs::symlink("/dev/full", dir.join("test.log")).expect("linked");
        // More than fits into the pipe, in one line too.
        let script = format!(
            "head -c 300000 /dev/zero | tr '\\0' x; for i in $(seq 3000); do echo line $i of many; \
             done; echo done > {}; exec sleep 600",
            dir.join("progress").display()
        );
        let (_, state) = supervise_in(&dir, script, "progress", |text| text.contains("done"));
        assert_eq!(state.restarts, 0, "{state:?}");
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
