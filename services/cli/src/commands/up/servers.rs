//! Starting the supervisor, or leaving a running one alone when nothing changed.

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, OWNER};
use crate::layout::Layout;
use crate::ports::Ports;
use crate::secrets::Secrets;
use crate::supervisor::parts;
use crate::supervisor::process::Process;
use crate::{disk, env_file, people, supervisor};

/// The servers of an installation, started or found running.
pub struct Servers {
    /// Where they listen.
    pub ports: Ports,
    /// Their secrets.
    pub secrets: Secrets,
    /// Their cluster.
    pub cluster: Cluster,
    /// The owner's connection string.
    pub database_url: String,
    /// Whether they had to be started.
    pub started: bool,
    foreground: bool,
    in_front: Option<InFront>,
}

impl Servers {
    /// Settles ports and secrets, then starts the supervisor unless one runs with the same programs
    /// and settings.
    pub fn start(layout: &Layout, changed: bool, foreground: bool) -> Result<Self> {
        let chosen = layout.settings()?;
        let recorded = env_file::read(&layout.env_file())?;
        let secrets = Secrets::settle(&chosen, &recorded);
        let running = supervisor::running(layout)?.is_some();
        if !running {
            supervisor::orphans::stop(layout)?;
        }
        let ports = Ports::settle(&layout.ports_file(), &chosen)?;
        env_file::require_lines(&secrets.entries(&ports)?)?;
        if chosen.contains_key("ADMIN_PASSWORD") {
            people::require_password(&secrets.admin.password).context("ADMIN_PASSWORD")?;
        }
        secrets.before_new_admin().write(layout, &ports)?;
        let configuration = Configuration::of(layout, &ports, &secrets)?;
        let keep = running && !changed && !foreground && configuration.is_in_force();
        if running && !keep {
            supervisor::stop(layout)?;
        }
        if !keep {
            ports.require_free()?;
        }
        let cluster = open_cluster(layout, &ports, &secrets, recorded.is_empty() && !running)?;
        let in_front = if keep {
            None
        } else {
            start_supervisor(layout, foreground)?
        };
        configuration.remember()?;
        let database_url = cluster.url(OWNER);
        Ok(Self {
            ports,
            secrets,
            cluster,
            database_url,
            started: !keep,
            foreground,
            in_front,
        })
    }

    /// Gives Postgres and the broker the passwords that are recorded, which takes a restart: for
    /// when one of them has another.
    pub fn renew_passwords(&mut self, layout: &Layout) -> Result<()> {
        drop(self.in_front.take());
        supervisor::stop(layout)?;
        self.cluster
            .reset_password()
            .context("setting the password that .devart/env has")?;
        // The broker takes its own when it starts.
        self.in_front = start_supervisor(layout, self.foreground)?;
        self.started = true;
        Ok(())
    }

    /// In the foreground: waits for Ctrl-C or for the supervisor's end, then for everything to have
    /// stopped.
    pub async fn stay_if_in_front(self) -> Result<()> {
        let Some(mut supervisor) = self.in_front else {
            return Ok(());
        };
        say!("\nCtrl-C stops everything.");
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            status = supervisor.0.wait() => bail!("the supervisor ended by itself: {}", status?),
        }
    }
}

/// A supervisor in the foreground. It stops when this value goes, also when a later stage fails.
struct InFront(Child);

impl InFront {
    fn start(layout: &Layout) -> Result<Self> {
        let mut command = Command::new(layout.bin_dir().join("devart"));
        command
            .args(["supervise", "--echo"])
            .current_dir(&layout.repo)
            .env("DEVART_ROOT", &layout.repo);
        Ok(Self(command.spawn().context("starting the supervisor")?))
    }
}

impl Drop for InFront {
    fn drop(&mut self) {
        let Some(process) = self
            .0
            .id()
            .and_then(|pid| Process::of(i32::try_from(pid).ok()?))
        else {
            return;
        };
        // Ctrl-C reached it too, as part of our process group; a second request does no harm.
        process.end(Signal::SIGTERM, parts::stop_patience());
    }
}

fn open_cluster(
    layout: &Layout,
    ports: &Ports,
    secrets: &Secrets,
    record_is_lost: bool,
) -> Result<Cluster> {
    let existed = layout.postgres_dir().join("data/PG_VERSION").exists();
    if !existed {
        disk::require(&layout.postgres_dir(), 1000, "a Postgres cluster")?;
    }
    let cluster = parts::cluster(layout, ports, secrets)?;
    if existed && record_is_lost {
        cluster
            .reset_password()
            .context("setting a new password after .devart/env was lost")?;
    }
    Ok(cluster)
}

fn start_supervisor(layout: &Layout, foreground: bool) -> Result<Option<InFront>> {
    if foreground {
        return InFront::start(layout).map(Some);
    }
    supervisor::spawn_detached(layout)?;
    Ok(None)
}

/// A fingerprint of everything that the servers were started with.
struct Configuration {
    file: std::path::PathBuf,
    hash: String,
}

impl Configuration {
    fn of(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Self> {
        let text = format!(
            "{ports:?}{:?}{:?}",
            secrets.entries(ports)?,
            layout.env_overrides()?
        );
        Ok(Self {
            file: layout.run_dir().join("configuration"),
            hash: hex::encode(Sha256::digest(text)),
        })
    }

    fn is_in_force(&self) -> bool {
        std::fs::read_to_string(&self.file).is_ok_and(|text| text == self.hash)
    }

    fn remember(&self) -> Result<()> {
        std::fs::write(&self.file, &self.hash).context("remembering the configuration")
    }
}
