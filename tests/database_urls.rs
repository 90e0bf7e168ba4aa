//! A database that is named as libpq names it, behind a Unix socket.

use anyhow::{Context, Result};
use devart_cli::cluster::{Cluster, ClusterOptions, OWNER, StopMode};
use devart_cli::database;
use devart_cli::migrate::migrate;

use crate::support::cluster::directory;

#[tokio::test]
async fn a_database_behind_a_unix_socket_is_migrated_without_a_password() -> Result<()> {
    let cluster = Cluster::temporary(ClusterOptions::for_tests())?;
    trust_the_socket(&cluster)?;
    let socket = directory(&cluster).display().to_string();
    let port = cluster.port();
    let with_user = format!("postgresql://{OWNER}@/{OWNER}?host={socket}&port={port}");
    let report = migrate(&with_user).await?;
    assert!(!report.applied.is_empty());
    let all_in_the_query = format!(
        "postgres:///?host={socket}&port={port}&user={OWNER}&dbname={OWNER}&sslmode=require\
         &application_name=a+b&options=-c%20lock_timeout%3D7s"
    );
    assert!(migrate(&all_in_the_query).await?.applied.is_empty());
    let mut connection = database::connect(&all_in_the_query).await?;
    let seen: (Option<String>, String, String) = sqlx::query_as(
        "select host(inet_client_addr()), current_setting('application_name'),
                current_setting('lock_timeout')",
    )
    .fetch_one(&mut connection)
    .await?;
    assert_eq!(seen, (None, "a+b".to_owned(), "7s".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_url_that_asks_for_what_is_not_supported_is_refused_by_name() {
    let refused = async |url: &str| format!("{:#}", migrate(url).await.expect_err("refused"));
    let several = refused("postgres://one,two/devart").await;
    assert!(several.contains("several hosts"), "{several}");
    let unknown = refused("postgres:///devart?hosst=/run/postgresql").await;
    assert!(unknown.contains("hosst is not known"), "{unknown}");
    let words = refused("host=/run/postgresql password=secret").await;
    assert!(words.contains("postgresql://"), "{words}");
    assert!(!words.contains("secret"), "{words}");
}

/// Lets everybody who reaches the socket in, as Debian's `peer` does for the right account.
fn trust_the_socket(cluster: &Cluster) -> Result<()> {
    let file = cluster.data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&file).context("reading pg_hba.conf")?;
    std::fs::write(&file, format!("local all all trust\n{rules}"))
        .context("writing pg_hba.conf")?;
    // Not a reload: nothing says when that has happened.
    cluster.restart(StopMode::Fast)
}
