//! The servers of the tests: two for all, and one of its own for a test that stops its server.

use std::sync::OnceLock;

use anyhow::Result;
use devart_cli::cluster::ClusterOptions;
pub use devart_tests::cluster::{DATABASE, Guarded, directory};

/// The server of all tests' databases, copied from [`DATABASE`] in it. `pg_devart` is not in its
/// `shared_preload_libraries`, since everything must work like that too.
pub fn shared() -> &'static Guarded {
    static SHARED: OnceLock<Guarded> = OnceLock::new();
    SHARED.get_or_init(|| {
        let options = ClusterOptions {
            preload: false,
            settings: vec![("max_connections".to_owned(), "400".to_owned())],
            ..ClusterOptions::for_tests()
        };
        Guarded::migrated(options).expect("the tests' cluster starts")
    })
}

/// The server for wake-ups, with `pg_devart` preloaded and a notifier, which serves [`DATABASE`] and
/// no other one. Tests use topics of their own, few of them: the notifier has room for 64.
pub async fn notified() -> &'static Guarded {
    static NOTIFIED: OnceLock<Guarded> = OnceLock::new();
    let cluster = NOTIFIED.get_or_init(|| {
        Guarded::migrated(ClusterOptions::for_tests()).expect("the cluster with a notifier starts")
    });
    cluster.notifier(None).await;
    cluster
}

/// A server of its own, preloaded and durable, for a test that restarts it.
pub async fn durable() -> Result<Guarded> {
    Guarded::migrated(ClusterOptions::default())
}

/// A server of its own with a notifier, for a test that ends the notifier, fills it, or needs settings.
pub async fn with_notifier(options: ClusterOptions) -> Result<Guarded> {
    let cluster = Guarded::migrated(ClusterOptions {
        preload: true,
        ..options
    })?;
    cluster.notifier(None).await;
    Ok(cluster)
}
