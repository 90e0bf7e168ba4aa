//! An agent of the demo's own, with a key.

use anyhow::{Context, Result};
use serde_json::json;

use super::api::{Api, text};
use super::steps::Steps;
use crate::random;

/// A registered agent.
pub struct Registered {
    /// Its name.
    pub name: String,
    /// Its key.
    pub api_key: String,
}

/// Registers an agent with a name that nobody has yet.
pub async fn register(
    api: &Api,
    kind: &str,
    capability: &str,
    steps: &Steps,
) -> Result<Registered> {
    let name = format!("{kind}-{}", random::word(6).to_lowercase());
    let body = json!({"name": name, "capabilities": [capability]});
    let row = api
        .post("/api/agents/register", &body)
        .await
        .context("registering an example agent")?;
    steps.say(&format!(
        "agent {name} registers with capability {capability}"
    ));
    Ok(Registered {
        name,
        api_key: text(&row, "api_key")?,
    })
}
