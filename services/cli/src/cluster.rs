//! A private Postgres cluster in a directory: made, started, stopped, thrown away.
//!
//! `devart up` lets the supervisor run one under `.devart`; tests and the bench start their own through [`Cluster::temporary`].

mod options;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::postgres::{Choice, Postgres};
use crate::run_as::{ServerUser, run};
use crate::{ports, random};
pub use options::{ClusterOptions, StopMode};

/// The superuser and the database that every cluster of ours has.
pub const OWNER: &str = "devart";

/// The library that a cluster of ours preloads.
const EXTENSION: &str = "pg_devart";

/// One cluster. Dropping it stops the server if this value started it, and removes a temporary directory.
#[derive(Debug)]
pub struct Cluster {
    postgres: Postgres,
    user: ServerUser,
    dir: PathBuf,
    port: u16,
    password: String,
    started: AtomicBool,
    temporary: bool,
}

impl Cluster {
    /// Opens the cluster in `dir`, making it when there is none, and writes its configuration. Does not start it.
    /// `dir` must be reachable by the server's user.
    pub fn init(dir: &Path, options: ClusterOptions) -> Result<Self> {
        let user = ServerUser::for_server("postgres")?;
        user.make_dir(dir, 0o700)?;
        if !user.can_enter(dir) {
            bail!(
                "the Postgres user cannot enter {}: a directory above it is closed; choose another place",
                dir.display()
            );
        }
        let postgres = match Choice::for_data_dir(&dir.join("data"))? {
            Some(choice) => choice
                .open()
                .with_context(|| format!("looking for the PostgreSQL of {}", dir.display()))?,
            None => Postgres::require()?,
        };
        if !postgres.has_server() {
            bail!(
                "PostgreSQL {} of {} has no server programs",
                postgres.major,
                postgres.pg_config().display()
            );
        }
        let port = options.port.map_or_else(ports::any_free, Ok)?;
        let password = options.password.clone().unwrap_or_else(|| random::word(32));
        let cluster = Self {
            postgres,
            user,
            dir: dir.to_owned(),
            port,
            password,
            started: AtomicBool::new(false),
            temporary: false,
        };
        if !cluster.is_initialised() {
            match &options.copy_of {
                Some(data) => cluster.copy_data(data)?,
                None => cluster.initdb()?,
            }
        }
        cluster.configure(&options)?;
        Ok(cluster)
    }

    /// A fresh running cluster with an empty database `devart`, in a temporary directory that goes away with it.
    ///
    /// Another process may take the free port between our look and the server's start, so there are further attempts.
    pub fn temporary(options: ClusterOptions) -> Result<Self> {
        const FURTHER_ATTEMPTS: usize = 3;
        (0..FURTHER_ATTEMPTS)
            .find_map(|_| Self::attempt_temporary(options.clone()).ok())
            .map_or_else(|| Self::attempt_temporary(options), Ok)
    }

    /// As [`Self::temporary`], with what this cluster contains, its passwords too. This one must be stopped.
    pub fn temporary_copy(&self, options: ClusterOptions) -> Result<Self> {
        Self::temporary(ClusterOptions {
            password: Some(self.password.clone()),
            copy_of: Some(self.data_dir()),
            ..options
        })
    }

    fn attempt_temporary(options: ClusterOptions) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("devart-{}", random::word(10)));
        let mut cluster = Self::init(&dir, options)?;
        cluster.temporary = true;
        cluster.start()?;
        cluster.create_database(OWNER)?;
        Ok(cluster)
    }

    fn is_initialised(&self) -> bool {
        self.data_dir().join("PG_VERSION").exists()
    }

    fn initdb(&self) -> Result<()> {
        let password_file = self.dir.join("initial-password");
        self.user
            .write(&password_file, &format!("{}\n", self.password))?;
        let mut command = self.program("initdb");
        command
            .arg("-D")
            .arg(self.data_dir())
            .arg(format!("--username={OWNER}"))
            .arg(format!("--pwfile={}", password_file.display()));
        command.args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
            "--data-checksums",
        ]);
        let made = run(&mut command);
        std::fs::remove_file(&password_file).context("removing the initial password")?;
        made.map(drop)
            .with_context(|| format!("making a Postgres cluster in {}", self.dir.display()))
    }

    fn copy_data(&self, data: &Path) -> Result<()> {
        let mut command = self.user.command("cp");
        command.arg("-a").arg(data).arg(self.data_dir());
        run(&mut command)
            .map(drop)
            .with_context(|| format!("copying the Postgres cluster in {}", data.display()))
    }

    /// Writes `devart.conf` and has `postgresql.conf` include it. What people put into `postgresql.auto.conf` still wins.
    fn configure(&self, options: &ClusterOptions) -> Result<()> {
        let data = self.data_dir();
        let text =
            options.configuration(self.postgres.has_library(EXTENSION), &self.dir, self.port);
        self.user.write(&data.join("devart.conf"), &text)?;
        let main = data.join("postgresql.conf");
        let text = self.user.read(&main)?;
        if !text.contains("include 'devart.conf'") {
            let text = format!("{text}\ninclude 'devart.conf'\n");
            self.user.write(&main, &text)?;
        }
        Ok(())
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(&self) -> Result<()> {
        let mut command = self.pg_ctl("start");
        command.arg("-l").arg(self.log_file());
        run(&mut command)
            .with_context(|| format!("starting Postgres; its log says: {}", self.log_tail()))?;
        self.started.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Stops the server.
    pub fn stop(&self, mode: StopMode) -> Result<()> {
        run(self.pg_ctl("stop").args(["-m", mode.name()])).context("stopping Postgres")?;
        self.started.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Stops the server and starts it again; connections break.
    pub fn restart(&self, mode: StopMode) -> Result<()> {
        self.stop(mode)?;
        self.start()
    }

    /// Whether a server runs in this directory, whoever started it.
    pub fn is_running(&self) -> bool {
        run(&mut self.pg_ctl("status")).is_ok()
    }

    /// Makes a database unless it is there, in which nobody but its owner may fill the disk past
    /// every table: with temporary ones or large objects. The server must be running.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let exists = self.psql(
            "postgres",
            &format!("select 1 from pg_database where datname = '{name}'"),
        )?;
        if exists.trim().is_empty() {
            self.psql("postgres", &format!("create database \"{name}\""))?;
        }
        self.psql(name, include_str!("cluster/database.sql"))?;
        Ok(())
    }

    /// Runs one statement as the superuser; gives its unaligned output.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = self.program("psql");
        command
            // Everybody on the machine can read the arguments of a process.
            .env("PGPASSWORD", &self.password)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", OWNER, "-d", database, "-c", sql]);
        run(&mut command)
    }

    /// Sets the superuser's password while the server is down: for when the recorded one was lost.
    pub fn reset_password(&self) -> Result<()> {
        use std::io::Write;
        let mut command = self.program("postgres");
        command
            .arg("--single")
            .arg("-D")
            .arg(self.data_dir())
            .arg("postgres");
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .context("starting Postgres in single-user mode")?;
        let statement = format!(
            "alter role \"{OWNER}\" password '{}';\n",
            self.password.replace('\'', "''")
        );
        child
            .stdin
            .take()
            .context("no standard input")?
            .write_all(statement.as_bytes())
            .context("sending the new password")?;
        let status = child
            .wait()
            .context("waiting for Postgres in single-user mode")?;
        if !status.success() {
            bail!("Postgres in single-user mode ended with {status}");
        }
        Ok(())
    }

    /// The command that runs the server in the foreground, for a supervisor.
    pub fn server_command(&self) -> Command {
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data_dir());
        command
    }

    /// A client or server program of this cluster's version, run as the cluster's user.
    pub fn program(&self, name: &str) -> Command {
        // Without our environment: PGHOST and friends of the caller must not lead us to another cluster, and
        // RUST_BACKTRACE in a server would show backtraces of the extension to its clients.
        self.user.command(self.postgres.bin(name))
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = self.program("pg_ctl");
        command
            .arg(action)
            .arg("-D")
            .arg(self.data_dir())
            .args(["-w", "-t", "120"]);
        command
    }

    fn log_tail(&self) -> String {
        let text = self.user.read(&self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Connection string of the superuser for a database.
    pub fn url(&self, database: &str) -> String {
        self.url_as(OWNER, &self.password, database)
    }

    /// Connection string of any user.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Where the data lives.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where [`Self::start`] sends the server's log.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The version it runs.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.started.load(Ordering::SeqCst) {
            let mode = if self.temporary {
                StopMode::Immediate
            } else {
                StopMode::Fast
            };
            let _ = self.stop(mode);
        }
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_cluster_answers_restarts_and_leaves_nothing_behind() {
        let cluster = Cluster::temporary(ClusterOptions {
            preload: false,
            ..ClusterOptions::for_tests()
        })
        .expect("a cluster");
        let dir = cluster.dir.clone();
        assert_eq!(
            cluster
                .psql(OWNER, "select current_user")
                .expect("answer")
                .trim(),
            OWNER
        );
        cluster.restart(StopMode::Fast).expect("restart");
        assert!(cluster.is_running());
        drop(cluster);
        assert!(!dir.exists());
    }

    #[test]
    fn a_copy_of_a_stopped_cluster_has_what_is_in_it_and_is_another() {
        let options = || ClusterOptions {
            preload: false,
            ..ClusterOptions::for_tests()
        };
        let original = Cluster::temporary(options()).expect("a cluster");
        let create = "create table t as select 1 as n";
        original.psql(OWNER, create).expect("a table");
        original.stop(StopMode::Fast).expect("stop");
        let copy = original.temporary_copy(options()).expect("a copy");
        original.start().expect("both run at a time");
        copy.psql(OWNER, "update t set n = 2").expect("an update");
        for (cluster, expected) in [(&original, "1"), (&copy, "2")] {
            let n = cluster.psql(OWNER, "select n from t").expect("answer");
            assert_eq!(n.trim(), expected);
        }
    }

    #[test]
    fn nobody_sees_the_password_in_the_arguments_of_a_process() {
        let password = random::word(32);
        let cluster = Cluster::temporary(ClusterOptions {
            preload: false,
            password: Some(password.clone()),
            ..ClusterOptions::for_tests()
        })
        .expect("a cluster");
        let sleep = "select pg_sleep(60)";
        let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| cluster.psql(OWNER, sleep));
            while cluster.psql(OWNER, sleeping).expect("answer").trim() != "1" {
                assert!(!sleeper.is_finished(), "it sleeps");
                std::thread::yield_now();
            }
            let shown: Vec<String> = std::fs::read_dir("/proc")
                .expect("/proc")
                .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
                .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
                .filter(|line| line.contains(&password) || line.contains("pg_sleep(60)"))
                .collect();
            cluster.stop(StopMode::Immediate).expect("stopped");
            assert!(!shown.is_empty(), "it is there");
            assert!(
                !shown.iter().any(|line| line.contains(&password)),
                "{shown:?}"
            );
        });
    }

    #[test]
    fn a_lost_password_can_be_set_again() {
        let dir = std::env::temp_dir().join(format!("devart-{}", random::word(10)));
        let options = |password: &str| ClusterOptions {
            preload: false,
            password: Some(password.to_owned()),
            ..ClusterOptions::for_tests()
        };
        drop(Cluster::init(&dir, options("first")).expect("a cluster"));
        let mut cluster = Cluster::init(&dir, options("second")).expect("the same cluster");
        cluster.temporary = true;
        cluster.reset_password().expect("reset");
        cluster.start().expect("start");
        assert_eq!(
            cluster.psql("postgres", "select 1").expect("login").trim(),
            "1"
        );
    }
}
