//! `devart agent register`: a new agent and its key.

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::Connection;

use crate::database;
use crate::installation::Installation;
use crate::layout::Layout;

/// Registers an agent; gives its key, which is nowhere else to be had.
pub async fn register(layout: &Layout, name: &str, capabilities: &[String]) -> Result<String> {
    let mut connection = Installation::open(layout)?.connect().await?;
    let row: Value = sqlx::query_scalar("select devart.register_agent($1, $2)")
        .bind(name)
        .bind(capabilities)
        .fetch_one(&mut connection)
        .await
        .map_err(database::explain)
        .with_context(|| format!("registering the agent {name}"))?;
    connection.close().await?;
    let key = row
        .get("api_key")
        .and_then(Value::as_str)
        .context("the database gave no key")?;
    Ok(key.to_owned())
}
