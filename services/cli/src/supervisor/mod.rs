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
use child::Child;
use record::Record;

pub use child::Part;

/// How long stopping may take: every part's own patience, and some.
pub const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// Runs until SIGTERM or SIGINT. With `echo`, log lines also go to standard output.
pub fn run(layout: &Layout, echo: bool) -> Result<()> {
    let Some(_lock) = try_lock(&lock_file(layout))? else {
        bail!("devart is already running here; `devart status` shows it, `devart down` stops it");
    };
    let pid_file = pid_file(layout);
    std::fs::write(&pid_file, std::process::id().to_string()).context("writing the pid file")?;
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
    let record = Record::at(layout.run_dir().join("parts.json"));
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
        task.await.context("a supervising task failed")?;
    }
    record.clear()
}

fn lock_file(layout: &Layout) -> std::path::PathBuf {
    layout.run_dir().join("supervisor.lock")
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
        if let Ok(pid) = text.trim().parse() {
            return Ok(Some(pid));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "a supervisor holds {}, but its pid file is gone; find it with: fuser {}",
        lock_file(layout).display(),
        lock_file(layout).display()
    )
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

/// Stops the running supervisor and waits until it and its children are gone. False when none was
/// running.
pub fn stop(layout: &Layout) -> Result<bool> {
    let Some(pid) = running(layout)? else {
        return Ok(false);
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .with_context(|| format!("asking the supervisor ({pid}) to stop"))?;
    let started = Instant::now();
    while try_lock(&lock_file(layout))?.is_none() {
        if started.elapsed() > STOP_PATIENCE {
            bail!(
                "the supervisor ({pid}) did not stop within {} s; see {}",
                STOP_PATIENCE.as_secs(),
                layout.log_file("supervisor").display()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}
