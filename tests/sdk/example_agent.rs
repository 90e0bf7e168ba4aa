//! An example agent as a process of its own, from a signed delivery to the money it spent.

use anyhow::{Result, ensure};

use super::python;
use crate::support::Database;
use crate::support::api::{Api, WEBHOOK_SECRET};
use crate::support::budget::audit;
use crate::support::github;

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
    let signature = github::sign(WEBHOOK_SECRET, github::PAYLOAD)?;
    github::deliver(&api, "d", github::PAYLOAD, Some(signature))
        .await?
        .expect(202);

    let output = python("examples/code_review")?
        .args(["agent.py", "--max-tasks", "1"])
        .env("DEVART_API_URL", &api.url)
        .env("DEVART_API_KEY", &agent.key)
        .env("DEVART_SERVICE_ID", service_id.to_string())
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
