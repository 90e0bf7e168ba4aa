//! What an installation has recorded about itself, for commands that talk to its servers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use sqlx::PgConnection;

use crate::database;
use crate::env_file;
use crate::layout::Layout;
use crate::secrets;

/// The content of `.devart/env`.
pub struct Installation {
    values: BTreeMap<String, String>,
}

impl Installation {
    /// Reads the record. An address in the environment does not count: it may belong to another
    /// installation. Nor does the record of a clone of which this one is a copy.
    pub fn open(layout: &Layout) -> Result<Self> {
        layout.refuse_state_of_another()?;
        let values = env_file::read(&layout.env_file())?;
        if values.is_empty() {
            bail!("nothing is set up here yet; run `devart up`");
        }
        Ok(Self { values })
    }

    /// One recorded value.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .with_context(|| format!(".devart/env has no {name}; run `devart up`"))
    }

    /// Whether a value is recorded.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The owner's connection string.
    pub fn database_url(&self) -> Result<&str> {
        self.get("DATABASE_URL")
    }

    /// The password of the broker's own user.
    pub fn broker_password(&self) -> Option<String> {
        secrets::broker_password(&self.values)
    }

    /// Connects as the owner.
    pub async fn connect(&self) -> Result<PgConnection> {
        database::connect(self.database_url()?)
            .await
            .context("could not connect to the database; is it running? `devart status` tells")
    }
}
