//! `devart demo`: the main job, start to end, against the running installation. A real pull request
//! arrives as GitHub would deliver it, becomes a task, and an agent takes and finishes it. Then an
//! agent spends a budget to its end.

mod agent;
mod alerts;
mod api;
mod delivery;
mod money;
mod registered;
mod report;
mod review;
mod steps;

use anyhow::Result;

use crate::commands::token;
use crate::installation::Installation;
use crate::layout::Layout;
use crate::people::Role;
use alerts::Alerts;
use api::Api;

/// Runs the main job and the story about money once, and prints each step.
pub async fn run(layout: &Layout) -> Result<()> {
    let installation = Installation::open(layout)?;
    let admin = token::make(layout, Role::Admin, 1).await?;
    let api = Api::new(installation.get("API_URL")?, &admin)?;
    review::run(layout, &installation, &api).await?;
    say!("");
    let supervisor = token::make(layout, Role::Supervisor, 1).await?;
    let alerts = Alerts::open(layout).await?;
    money::run(&api, &api.with_token(&supervisor), alerts).await
}
