//! The Python SDK's own tests and the example's, against the real API.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::support::Database;
use crate::support::api::Api;

fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents")
}

/// Runs pytest in the environment that `devart setup --tests` prepares.
async fn pytest(folder: &Path, api: &Api, db: &Database) -> Result<()> {
    let python = agents().join("../.devart/venv/bin/python");
    ensure!(
        python.exists(),
        "{} is missing: devart setup --tests",
        python.display()
    );
    let admin = db.person("admin").await?;
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .current_dir(folder)
        .env("DEVART_API_URL", &api.url)
        .env("DEVART_ADMIN_TOKEN", admin.token().unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    ensure!(output.status.success(), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_sdks_tests_pass_against_the_real_api() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    pytest(&agents().join("sdk"), &api, &db).await
}

#[tokio::test]
async fn the_examples_tests_pass() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    pytest(&agents().join("examples/code_review"), &api, &db).await
}
