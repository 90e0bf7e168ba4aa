//! `devart migrate`: brings a database to the current schema.

use anyhow::Result;

use crate::installation::Installation;
use crate::layout::Layout;
use crate::migrate;

/// Migrates the named database, or this installation's.
pub async fn run(database_url: Option<String>) -> Result<()> {
    let url = match database_url {
        Some(url) => url,
        None => Installation::open(&Layout::find()?)?
            .database_url()?
            .to_owned(),
    };
    let report = migrate::migrate(&url).await?;
    for name in &report.applied {
        say!("  applied {name}");
    }
    say!(
        "extension pg_devart {}, {} incremental files applied, {} idempotent files run",
        report.extension,
        report.applied.len(),
        report.idempotent
    );
    Ok(())
}
