//! One file for each command that does more than call a module.

pub mod agent;
pub mod doctor;
pub mod down;
pub mod migrate;
pub mod outbox;
pub mod stand_in;
pub mod status;
pub mod stop;
pub mod token;
pub mod up;
pub mod user;
pub mod with_assertions;

use anyhow::{Context, Result};
use sqlx::PgConnection;

use crate::database;
use crate::installation::Installation;
use crate::layout::Layout;

/// Connects to this installation's database, or without one to that of `DATABASE_URL`.
async fn connect() -> Result<PgConnection> {
    let installation = Layout::find().and_then(|layout| Installation::open(&layout));
    match (installation, std::env::var("DATABASE_URL")) {
        (Ok(installation), _) => installation.connect().await,
        (Err(_), Ok(url)) => database::connect(&url)
            .await
            .context("connecting to the database of DATABASE_URL"),
        (Err(error), Err(_)) => Err(error.context("no database: DATABASE_URL is not set either")),
    }
}
