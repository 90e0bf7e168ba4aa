//! One Postgres cluster for the whole run, with a migrated template to copy databases from.

use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::migrate;

/// Password of `authenticator`, the login of the API and PostgREST.
pub const AUTHENTICATOR_PASSWORD: &str = "authenticator-password-of-the-tests";

/// Password of every bridge's login.
pub const BRIDGE_PASSWORD: &str = "bridge-password-of-the-tests";

/// Password of Grafana's login.
pub const GRAFANA_PASSWORD: &str = "grafana-password-of-the-tests";

/// The database that tests copy.
pub const TEMPLATE: &str = "devart_template";

/// A cluster that ends with this value, and with this process however that ends.
pub struct Guarded {
    cluster: Cluster,
    /// Holds the pipe that tells the guard when this process is gone.
    _guard: Child,
}

impl Guarded {
    fn start(options: ClusterOptions) -> Result<Self> {
        let cluster = Cluster::temporary(options)?;
        Ok(Self {
            _guard: guard(&cluster)?,
            cluster,
        })
    }
}

impl Deref for Guarded {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// The cluster of this test process; started by the first test that asks.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Guarded> = OnceLock::new();
    SHARED.get_or_init(|| start().expect("the tests' cluster starts"))
}

/// A cluster of its own for a test that restarts it, with a migrated database `devart`.
pub async fn durable() -> Result<Guarded> {
    let cluster = Guarded::start(ClusterOptions::default())?;
    migrate::migrate(&cluster.url("devart")).await?;
    set_login_passwords(&cluster, "devart").await?;
    Ok(cluster)
}

/// A cluster whose notifier serves the migrated database `devart`.
pub async fn with_notifier(options: ClusterOptions) -> Result<Guarded> {
    let cluster = Guarded::start(ClusterOptions {
        preload: true,
        ..options
    })?;
    migrate::migrate(&cluster.url("devart")).await?;
    Ok(cluster)
}

/// Without `pg_devart` in `shared_preload_libraries`, since it must work like that too.
fn start() -> Result<Guarded> {
    let options = ClusterOptions {
        preload: false,
        settings: vec![("max_connections".to_owned(), "400".to_owned())],
        ..ClusterOptions::for_tests()
    };
    let cluster = Guarded::start(options)?;
    cluster.create_database(TEMPLATE)?;
    // A runtime of its own: the first test's may be busy running this very function.
    std::thread::scope(|scope| scope.spawn(|| prepare_template(&cluster)).join())
        .expect("preparing the template does not panic")?;
    Ok(cluster)
}

fn prepare_template(cluster: &Cluster) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        migrate::migrate(&cluster.url(TEMPLATE)).await?;
        set_login_passwords(cluster, TEMPLATE).await
    })
}

async fn set_login_passwords(cluster: &Cluster, database: &str) -> Result<()> {
    let url = cluster.url(database);
    migrate::set_login_password(&url, "authenticator", AUTHENTICATOR_PASSWORD).await?;
    migrate::set_login_password(&url, "devart_bridge_rabbitmq", BRIDGE_PASSWORD).await?;
    migrate::set_login_password(&url, "devart_bridge_telegram", BRIDGE_PASSWORD).await?;
    migrate::set_login_password(&url, "devart_grafana", GRAFANA_PASSWORD).await
}

/// Statics are never dropped, and a killed process drops nothing. So a shell waits for the end of its
/// input, which comes when this process ends in whatever way, and then stops and removes the cluster.
fn guard(cluster: &Cluster) -> Result<Child> {
    const SCRIPT: &str = r#"
        cat
        pid=$(head -n 1 "$0/data/postmaster.pid") && kill -QUIT "$pid"
        while kill -0 "$pid"; do sleep 0.1; done
        rm -rf "$0""#;
    Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(directory(cluster))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the cluster's guard")
}

/// The cluster's own directory: files put there can be read by its programs.
pub fn directory(cluster: &Cluster) -> std::path::PathBuf {
    let data = cluster.data_dir();
    data.parent().map(Path::to_owned).unwrap_or(data)
}
