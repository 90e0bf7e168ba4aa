//! The process that owns the servers: starts them, restarts one that dies, keeps their logs, stops
//! them in reverse order.

mod backoff;
mod child;
mod environment;
mod log;
pub mod orphans;
pub mod parts;
pub mod process;
pub mod record;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::layout::Layout;
use crate::{env_file, whose};
use child::Child;
use process::Process;
use record::Record;

pub use child::Part;

/// How long a part is waited for in silence.
const QUIET: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or SIGINT. With `echo`, log lines also go to standard output.
pub fn run(layout: &Layout, echo: bool) -> Result<()> {
    let Some(_lock) = try_lock(&lock_file(layout))? else {
        bail!("devart is already running here; `devart status` shows it, `devart down` stops it");
    };
    let pid_file = pid_file(layout);
    std::fs::write(&pid_file, pid_text(layout)?).context("writing the pid file")?;
    let _ = std::fs::remove_file(forced_file(layout));
    orphans::stop(layout)?;
    // One thread, and the main one: the kernel ends the children when the *thread* that started
    // them ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = tokio::task::LocalSet::new()
        .block_on(&runtime, supervise(layout, parts::all(layout)?, echo));
    let _ = std::fs::remove_file(pid_file);
    result
}

async fn supervise(layout: &Layout, parts: Vec<Part>, echo: bool) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let record = Record::at(layout.run_dir().join("parts.json"), layout.repo.clone());
    let children: Vec<_> = parts
        .into_iter()
        .map(|part| {
            let (stop, stopped) = watch::channel(false);
            let child = Child::new(part, layout.log_dir(), echo, record.clone());
            (stop, tokio::task::spawn_local(child.run(stopped)))
        })
        .collect();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    for (stop, task) in children.into_iter().rev() {
        let _ = stop.send(true);
        // One that failed is no reason to leave the others running.
        if let Err(error) = task.await {
            warn!("a supervising task failed: {error}");
        }
    }
    let forced = record.forced();
    if !forced.is_empty() {
        let _ = std::fs::write(forced_file(layout), forced.join("\n"));
    }
    record.clear()
}

/// Which parts had to be ended by force; read by `devart down`.
fn forced_file(layout: &Layout) -> std::path::PathBuf {
    layout.run_dir().join("ended-by-force")
}

fn lock_file(layout: &Layout) -> std::path::PathBuf {
    layout.run_dir().join("supervisor.lock")
}

/// Pid, clone and start time.
fn pid_text(layout: &Layout) -> Result<String> {
    let pid = i32::try_from(std::process::id()).context("an impossible pid")?;
    let this = Process::of(pid).context("looking at this process")?;
    let clone = layout.repo.display();
    Ok(format!("{pid}\n{clone}\n{}\n", this.started))
}

fn pid_file(layout: &Layout) -> std::path::PathBuf {
    layout.run_dir().join("supervisor.pid")
}

/// Takes a lock that ends with this process, however it ends. None when another process has it.
pub fn try_lock(path: &Path) -> Result<Option<Flock<std::fs::File>>> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// As [`try_lock`], but waits for as long as it takes; says so once when it has to.
pub fn wait_for_lock(path: &Path, say: impl Fn()) -> Result<Flock<std::fs::File>> {
    let mut said = false;
    loop {
        if let Some(lock) = try_lock(path)? {
            return Ok(lock);
        }
        if !said {
            say();
            said = true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The pid of the running supervisor. The lock decides, so a stale pid file deceives nobody.
pub fn running(layout: &Layout) -> Result<Option<i32>> {
    if !layout.run_dir().exists() || try_lock(&lock_file(layout))?.is_some() {
        return Ok(None);
    }
    // The supervisor takes the lock just before it writes its pid.
    for _ in 0..50 {
        let text = std::fs::read_to_string(pid_file(layout)).unwrap_or_default();
        let mut lines = text.lines();
        let process = lines
            .next()
            .and_then(|line| Process::of(line.parse().ok()?));
        let (clone, started) = (lines.next(), lines.next());
        // One of before, whose pid somebody else may have by now, wrote another start time.
        let is_it = |it: &Process| started.is_none_or(|time| time == it.started.to_string());
        if let Some(process) = process.filter(is_it) {
            require_ours(layout, clone)?;
            return Ok(Some(process.pid));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "a supervisor holds {}, but its pid file is gone; find it with: fuser {}",
        lock_file(layout).display(),
        env_file::quote(&lock_file(layout).display().to_string())
    )
}

/// A copy of a clone by hard links has the lock of the original.
fn require_ours(layout: &Layout, clone: Option<&str>) -> Result<()> {
    let other = clone.filter(|clone| !whose::is_ours(Path::new(clone), &layout.repo));
    if let Some(other) = other {
        bail!(
            "the files in {} are those of the clone in {other}, whose servers run; remove them here, \
             where they are a copy, then run this again",
            layout.home().display()
        );
    }
    Ok(())
}

/// Starts the supervisor in a session of its own, so that it stays when the terminal closes.
pub fn spawn_detached(layout: &Layout) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(layout.log_file("supervisor"))
        .context("opening the supervisor's log")?;
    let mut command = Command::new(layout.bin_dir().join("devart"));
    command
        .arg("supervise")
        .current_dir(&layout.repo)
        .env("DEVART_ROOT", &layout.repo)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing the log")?)
        .stderr(log);
    // SAFETY: setsid is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()
                .map(drop)
                .map_err(std::io::Error::from)
        });
    }
    command
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    Ok(())
}

/// How stopping went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Whether a supervisor ran.
    pub was_running: bool,
    /// The parts that did not end when they were asked to, and were ended by force.
    pub forced: Vec<String>,
}

/// Stops the running supervisor and waits until it and its children are gone, however long they
/// take; then what is left of them.
pub fn stop(layout: &Layout) -> Result<Stopped> {
    let mut stopped = Stopped::default();
    if let Some(pid) = running(layout)? {
        stopped.was_running = true;
        if let Some(supervisor) = Process::of(pid)
            && !ends_in_order(layout, supervisor)?
        {
            supervisor.end(Signal::SIGKILL, process::FORCE_PATIENCE);
            stopped.forced.push("supervisor".to_owned());
        }
        let forced = std::fs::read_to_string(forced_file(layout)).unwrap_or_default();
        stopped.forced.extend(forced.lines().map(str::to_owned));
    }
    stopped.forced.extend(orphans::stop(layout)?);
    Ok(stopped)
}

/// Asks the supervisor to end and waits for it, as long as its parts may need.
fn ends_in_order(layout: &Layout, supervisor: Process) -> Result<bool> {
    let pid = Pid::from_raw(supervisor.pid);
    kill(pid, Signal::SIGTERM).with_context(|| format!("asking the supervisor ({pid}) to stop"))?;
    let started = Instant::now();
    let mut waits_for = (String::new(), Instant::now());
    let mut is_said = true;
    while try_lock(&lock_file(layout))?.is_none() {
        if started.elapsed() > parts::stop_patience() {
            return Ok(false);
        }
        let part = stopping(layout).unwrap_or_default();
        if part != waits_for.0 {
            is_said = part.is_empty();
            waits_for = (part, Instant::now());
        }
        if !is_said && waits_for.1.elapsed() > QUIET {
            say!("  waiting for {} to end", waits_for.0);
            is_said = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// The part that was asked to end and has not yet.
fn stopping(layout: &Layout) -> Option<String> {
    let recorded = record::read(&layout.run_dir().join("parts.json"))?;
    let mut parts = recorded.parts.into_iter();
    parts.find_map(|(name, state)| state.stopping.then_some(name))
}
