//! The idempotent files. One that the database has been given is not run again as long as neither
//! it nor what such files make has changed: policies and triggers need whole tables for themselves.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sqlx::PgConnection;

use super::files::SqlFile;
use super::{explain_missing_function, locks, reset_role};

/// Files from here on treat whatever the others have made: grants and owners.
const SWEEPING: &str = "950";

/// The row of the record that has the fingerprint of the catalog.
const CATALOG: &str = "catalog";

/// Runs what is needed in one transaction, so that nobody ever sees half of the functions or
/// policies; gives how many files that were. After incremental files, `all`, that is all of them.
pub(super) async fn apply(
    connection: &mut PgConnection,
    files: &[SqlFile],
    all: bool,
) -> Result<usize> {
    locks::in_transaction(connection, "applying sql/idempotent", async |connection| {
        let needed = needed(connection, files, all).await?;
        for file in &needed {
            run(connection, file).await?;
        }
        if !needed.is_empty() {
            record(connection, files).await?;
        }
        Ok(needed.len())
    })
    .await
}

async fn needed<'a>(
    connection: &mut PgConnection,
    files: &'a [SqlFile],
    all: bool,
) -> Result<Vec<&'a SqlFile>> {
    let recorded = recorded(connection).await?;
    let all = all || recorded.get(CATALOG) != Some(&catalog(connection).await?);
    let is_stale = |file: &SqlFile| all || recorded.get(file.name) != Some(&file.sha256());
    if !files.iter().any(is_stale) {
        return Ok(Vec::new());
    }
    let is_needed = |file: &&SqlFile| is_stale(file) || file.name >= SWEEPING;
    Ok(files.iter().filter(is_needed).collect())
}

/// How many files the database does not have in this form.
pub(super) fn outstanding(files: &[SqlFile], recorded: &BTreeMap<String, String>) -> usize {
    let is_stale = |file: &&SqlFile| recorded.get(file.name) != Some(&file.sha256());
    files.iter().filter(is_stale).count()
}

/// What the database was given: file name to SHA-256.
pub(super) async fn recorded(connection: &mut PgConnection) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select name, sha256 from devart_private.idempotent_files")
            .fetch_all(connection)
            .await
            .context("reading devart_private.idempotent_files")?;
    Ok(rows.into_iter().collect())
}

async fn run(connection: &mut PgConnection, file: &SqlFile) -> Result<()> {
    sqlx::raw_sql(file.text)
        .execute(&mut *connection)
        .await
        .map_err(explain_missing_function)
        .with_context(|| format!("applying sql/idempotent/{}", file.name))?;
    reset_role(connection).await
}

async fn record(connection: &mut PgConnection, files: &[SqlFile]) -> Result<()> {
    let catalog = catalog(connection).await?;
    let (mut names, mut hashes): (Vec<_>, Vec<_>) = files
        .iter()
        .map(|file| (file.name.to_owned(), file.sha256()))
        .unzip();
    names.push(CATALOG.to_owned());
    hashes.push(catalog);
    sqlx::query(include_str!("record_files.sql"))
        .bind(names)
        .bind(hashes)
        .execute(connection)
        .await
        .context("recording the idempotent files")?;
    Ok(())
}

async fn catalog(connection: &mut PgConnection) -> Result<String> {
    // Names of types and functions are shown as the search path has it.
    sqlx::raw_sql("set local search_path = pg_catalog, pg_temp")
        .execute(&mut *connection)
        .await
        .context("pinning the search path")?;
    let fingerprint = sqlx::query_scalar(include_str!("catalog.sql"))
        .fetch_one(&mut *connection)
        .await
        .context("looking at what the files have made")?;
    sqlx::raw_sql("set local search_path to default")
        .execute(connection)
        .await
        .context("giving the search path back")?;
    Ok(fingerprint)
}
