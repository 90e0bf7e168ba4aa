//! PgBouncer in transaction mode, as a process of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use devart_cli::ports;
use devart_cli::setup::pgbouncer::Version;
use devart_tests::cluster::{AUTHENTICATOR_PASSWORD, BRIDGE_PASSWORD};
use uuid::Uuid;

use super::database::Database;
use super::wait::eventually;

/// Fewer than the clients that the tests have at once, so that they share.
const CONNECTIONS: u32 = 3;

/// A PgBouncer, and how it is set.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub version: Version,
    /// How many statements of a client it prepares again where needed; none: its default.
    pub max_prepared_statements: Option<u32>,
}

/// A running pooler; dropping it ends it.
pub struct Pooler {
    child: Child,
    dir: PathBuf,
    port: u16,
    target: u16,
}

impl Pooler {
    /// A pooler of this kind before the test's database.
    pub async fn start(kind: Kind, db: &Database) -> Result<Self> {
        let (port, target) = (ports::any_free()?, db.cluster().port());
        let dir =
            std::env::temp_dir().join(format!("devart-pgbouncer-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&dir)?;
        let users = format!(
            "\"authenticator\" \"{AUTHENTICATOR_PASSWORD}\"\n\
             \"devart_bridge_rabbitmq\" \"{BRIDGE_PASSWORD}\"\n\
             \"devart_bridge_telegram\" \"{BRIDGE_PASSWORD}\"\n"
        );
        let (user_file, file) = (dir.join("users.txt"), dir.join("pgbouncer.ini"));
        std::fs::write(&user_file, users)?;
        std::fs::write(
            &file,
            format!(
                "[databases]\n* = host=127.0.0.1 port={target}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = {CONNECTIONS}\nmax_client_conn = 500\n{}",
                user_file.display(),
                kind.setting()
            ),
        )?;
        let mut command = Command::new(kind.version.program()?);
        // It refuses to run as root.
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            let data = std::fs::metadata(db.cluster().data_dir())?;
            let (uid, gid) = (data.uid(), data.gid());
            for path in [&dir, &user_file, &file] {
                chown(path, Some(uid), Some(gid))?;
            }
            command.uid(uid).gid(gid);
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
        let child = command
            .arg("-q")
            .arg(&file)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting pgbouncer")?;
        let pooler = Self {
            child,
            dir,
            port,
            target,
        };
        eventually("the pooler answers", async || {
            let address = (std::net::Ipv4Addr::LOCALHOST, port);
            tokio::net::TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
        Ok(pooler)
    }

    /// The way through the pooler of what this connection string leads to.
    pub fn through(&self, url: &str) -> String {
        url.replace(&format!(":{}/", self.target), &format!(":{}/", self.port))
    }
}

impl Kind {
    /// The line of the configuration that tells this kind from others.
    fn setting(self) -> String {
        let most = self.max_prepared_statements;
        most.map(|most| format!("max_prepared_statements = {most}\n"))
            .unwrap_or_default()
    }

    /// Whether it can be tried: false where set-up could not have its source, and an error where
    /// set-up did not run.
    pub fn is_here(self) -> Result<bool> {
        let Version { number, .. } = self.version;
        let program = self.version.program()?;
        if program.exists() {
            return Ok(true);
        }
        let why = self.version.why_missing();
        ensure!(
            why.is_some(),
            "PgBouncer {number} is not at {}: devart setup --tests",
            program.display()
        );
        eprintln!(
            "NOT TESTED: PgBouncer {number}: {}",
            why.unwrap_or_default()
        );
        Ok(false)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
