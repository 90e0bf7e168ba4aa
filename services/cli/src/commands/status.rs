//! `devart status`: the health of each part.

use anyhow::{Result, bail};

use super::stop;
use crate::health;
use crate::installation::Installation;
use crate::layout::Layout;

/// Prints one line per part, per service that is put off and per stop; an error when a part is not well.
pub async fn run(layout: &Layout) -> Result<()> {
    let parts = health::all(layout).await?;
    for part in &parts {
        match &part.outcome {
            Ok(what) => say!("  {:<15} ok      {what}", part.name),
            Err(error) => say!("  {:<15} FAILED  {error:#}", part.name),
        }
    }
    // A database that cannot be asked has its line above.
    if let Ok(mut connection) = Installation::open(layout)?.connect().await {
        let _ = stop::still_stopped(&mut connection).await;
    }
    // Where the database is not well, its own line says so.
    for service in health::deferred_services(layout).await.unwrap_or_default() {
        say!("  {:<15} waits   {service}", "service");
    }
    if parts.iter().any(|part| part.outcome.is_err()) {
        bail!("not everything is well; `devart doctor` says what to do");
    }
    Ok(())
}
