//! A private Postgres cluster: empty, or a copy of one whose database `devart` is migrated and has the
//! passwords of its logins.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use devart_cli::cluster::{Cluster, ClusterOptions, StopMode};
use devart_cli::migrate;

use crate::guard;
use crate::wait::eventually;

/// The migrated database of each copy, and the one that a notifier serves.
pub const DATABASE: &str = "devart";

/// Password of `authenticator`, the login of the API and PostgREST.
pub const AUTHENTICATOR_PASSWORD: &str = "authenticator-password-of-the-tests";

/// Password of every bridge's login.
pub const BRIDGE_PASSWORD: &str = "bridge-password-of-the-tests";

/// Password of Grafana's login.
pub const GRAFANA_PASSWORD: &str = "grafana-password-of-the-tests";

/// A cluster that ends with this value, and with this process however that ends.
pub struct Guarded {
    cluster: Cluster,
    /// Holds the pipe that tells the guard when this process is gone.
    _guard: Child,
}

impl Guarded {
    /// A cluster whose database `devart` is empty.
    pub fn empty(options: ClusterOptions) -> Result<Self> {
        Self::guard(Cluster::temporary(options)?)
    }

    /// A cluster whose database `devart` is migrated and has the passwords of its logins.
    pub fn migrated(options: ClusterOptions) -> Result<Self> {
        Self::guard(template()?.temporary_copy(options)?)
    }

    fn guard(cluster: Cluster) -> Result<Self> {
        const SCRIPT: &str = r#"
            pid=$(head -n 1 "$0/data/postmaster.pid") && end QUIT
            rm -rf "$0""#;
        Ok(Self {
            _guard: guard::afterwards(SCRIPT, [directory(&cluster)])?,
            cluster,
        })
    }

    /// The connection string of the API and PostgREST.
    pub fn authenticator_url(&self, database: &str) -> String {
        self.url_as("authenticator", AUTHENTICATOR_PASSWORD, database)
    }

    /// The connection string of the bridge of this name.
    pub fn bridge_url(&self, bridge: &str, database: &str) -> String {
        self.url_as(&bridge_login(bridge), BRIDGE_PASSWORD, database)
    }

    /// The connection string of Grafana.
    pub fn grafana_url(&self, database: &str) -> String {
        self.url_as("devart_grafana", GRAFANA_PASSWORD, database)
    }

    /// The process of the notifier; waits for one that is ready to send, and is another than this.
    pub async fn notifier(&self, than: Option<u32>) -> u32 {
        eventually("a notifier serves the database", async || {
            self.find_notifier().filter(|pid| Some(*pid) != than)
        })
        .await
    }

    /// The process of the notifier that is ready to send. None also while the server is away.
    pub fn find_notifier(&self) -> Option<u32> {
        let found = self.psql(
            "postgres",
            "select pid from pg_stat_activity where backend_type = 'devart notifier'
             and datname = 'devart' and wait_event = 'Extension'",
        );
        found.ok()?.trim().parse().ok()
    }
}

impl Deref for Guarded {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

fn bridge_login(bridge: &str) -> String {
    format!("devart_bridge_{bridge}")
}

/// The cluster's own directory: files put there can be read by its programs.
pub fn directory(cluster: &Cluster) -> PathBuf {
    let data = cluster.data_dir();
    data.parent().map(Path::to_owned).unwrap_or(data)
}

/// A stopped cluster to copy, made once in each process: copying takes a tenth of the time of making
/// and migrating.
fn template() -> Result<&'static Cluster> {
    static TEMPLATE: OnceLock<Result<Guarded>> = OnceLock::new();
    let template = TEMPLATE.get_or_init(make_template).as_ref();
    template
        .map(Deref::deref)
        .map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn make_template() -> Result<Guarded> {
    let cluster = Guarded::empty(ClusterOptions {
        preload: false,
        ..ClusterOptions::for_tests()
    })?;
    let url = cluster.url(DATABASE);
    // A runtime of its own: the caller's may be busy running this very function.
    let migrate = || tokio::runtime::Runtime::new()?.block_on(migrate_with_logins(&url));
    std::thread::scope(|scope| scope.spawn(migrate).join()).expect("migrating does not panic")?;
    cluster.stop(StopMode::Fast)?;
    Ok(cluster)
}

/// Migrates a database and sets the passwords of the cluster's logins.
pub async fn migrate_with_logins(url: &str) -> Result<()> {
    migrate::migrate(url).await?;
    for (login, password) in [
        ("authenticator".to_owned(), AUTHENTICATOR_PASSWORD),
        (bridge_login("rabbitmq"), BRIDGE_PASSWORD),
        (bridge_login("telegram"), BRIDGE_PASSWORD),
        ("devart_grafana".to_owned(), GRAFANA_PASSWORD),
    ] {
        migrate::set_login_password(url, &login, password)
            .await
            .with_context(|| format!("setting the password of {login}"))?;
    }
    Ok(())
}
