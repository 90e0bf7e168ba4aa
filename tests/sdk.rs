//! The Python SDK's own tests, the examples' and the template's, against the real API and a real broker.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::support::Database;
use crate::support::api::{Api, WEBHOOK_SECRET};
use crate::support::broker::Broker;
use crate::support::budget::audit;
use crate::support::database::Agent;
use crate::webhooks;

fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents")
}

/// The environment that `devart setup --tests` prepares.
fn python() -> Result<PathBuf> {
    let python = agents().join("../.devart/venv/bin/python");
    ensure!(
        python.exists(),
        "{} is missing: devart setup --tests",
        python.display()
    );
    Ok(python)
}

/// What the tests are given, so that none has a reason to be skipped.
struct Surroundings {
    api: Api,
    admin: String,
    supervisor: String,
    /// For the template's own test, an agent that can do what its task requires.
    word_counter: Agent,
    /// A virtual host without a bridge, whose queues are the tests' own.
    broker: String,
}

impl Surroundings {
    async fn of(db: &Database) -> Result<Self> {
        let token = async |role| Ok::<_, anyhow::Error>(db.person(role).await?.token());
        Ok(Self {
            api: Api::start(db).await?,
            admin: token("admin").await?.context("a person has a token")?,
            supervisor: token("supervisor").await?.context("a person has a token")?,
            word_counter: db.agent(&["word-count"]).await?,
            broker: Broker::shared().await?,
        })
    }

    /// Runs the tests of a folder of `agents`. One that is skipped counts as failed: here nothing is missing.
    async fn pytest(&self, folder: &str) -> Result<()> {
        let output = Command::new(python()?)
            .args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"])
            .current_dir(agents().join(folder))
            .env("DEVART_API_URL", &self.api.url)
            .env("DEVART_ADMIN_TOKEN", &self.admin)
            .env("DEVART_TOKEN", &self.supervisor)
            .env("DEVART_API_KEY", &self.word_counter.key)
            .env("DEVART_TEST_RABBITMQ_URL", &self.broker)
            .env_remove("RABBITMQ_URL")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{folder}: {text}");
        ensure!(output.status.success(), "{folder}: {text}");
        ensure!(!text.contains("skipped"), "{folder} skipped a test: {text}");
        Ok(())
    }
}

#[tokio::test]
async fn the_tests_of_the_sdk_the_examples_and_the_template_pass() -> Result<()> {
    let db = Database::create().await?;
    let surroundings = Surroundings::of(&db).await?;
    for folder in [
        "sdk",
        "examples/code_review",
        "examples/research",
        "examples/pipeline",
        "template",
    ] {
        surroundings.pytest(folder).await?;
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_example_agent_reviews_a_signed_pull_request_and_pays_for_it() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&["code-review"]).await?;
    let service_id: uuid::Uuid = sqlx::query_scalar(
        "insert into devart.service_registry (name, budget_usd) values ('reviews', 10) returning id",
    )
    .fetch_one(&db.owner)
    .await?;
    let signature = webhooks::sign(WEBHOOK_SECRET, webhooks::PAYLOAD)?;
    webhooks::deliver(&api, "d", webhooks::PAYLOAD, Some(signature))
        .await?
        .expect(202);

    let output = Command::new(python()?)
        .args(["agent.py", "--max-tasks", "1"])
        .current_dir(agents().join("examples/code_review"))
        .env("DEVART_API_URL", &api.url)
        .env("DEVART_API_KEY", &agent.key)
        .env("DEVART_SERVICE_ID", service_id.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let (status, has_verdict, spent, charged): (String, bool, bool, bool) = sqlx::query_as(
        "select t.status::text, t.result ? 'verdict', s.spent_usd > 0 and s.held_usd = 0, s.spent_usd = c.amount_usd
         from devart.tasks t
         join devart.charges c on c.task_id = t.id and c.agent_id = t.agent_id and c.kind = 'settle'
         join devart.service_registry s on s.id = c.service_id",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(
        (status.as_str(), has_verdict, spent, charged),
        ("DONE", true, true, true)
    );
    audit(&db.owner).await;
    Ok(())
}
