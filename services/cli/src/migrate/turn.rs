//! One migrate at a time on one database.
//!
//! What is taken is a name, by a type that is made and never committed: a second one waits for the
//! first, and only owners can make one. An advisory lock could be held for ever by any role, and a
//! lock on a table would be in the way of what the files do with it.

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};

/// While this value lives no other migrate has its turn.
pub(super) struct Turn(PgConnection);

impl Turn {
    /// Waits for all that are before us, however long they take.
    pub(super) async fn wait(mut connection: PgConnection) -> Result<Self> {
        sqlx::raw_sql(
            "begin;
             set local lock_timeout = 0;
             set local statement_timeout = 0;
             set local idle_in_transaction_session_timeout = 0;
             create type devart_private.migrate_turn as enum ()",
        )
        .execute(&mut connection)
        .await
        .context("waiting for another migrate")?;
        Ok(Self(connection))
    }

    /// Lets the next one go on.
    pub(super) async fn end(self) -> Result<()> {
        self.0.close().await.context("closing the connection")
    }
}
