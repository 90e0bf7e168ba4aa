//! The main job: a pull request becomes a task, and an agent takes and finishes it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::agent::ExampleAgent;
use super::api::{Api, text};
use super::steps::Steps;
use super::{delivery, registered, report};
use crate::installation::Installation;
use crate::layout::Layout;

/// The service that the review is charged to.
const SERVICE: &str = "openai-gpt";

/// What the example agent can do and the task asks for.
const CAPABILITY: &str = "code-review";

/// How long the agent may take for the task, its start included.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs it once, and prints each step.
pub async fn run(layout: &Layout, installation: &Installation, api: &Api) -> Result<()> {
    let steps = Steps::begin("The main job: a pull request becomes a task, an agent finishes it.");
    let service = ensure_service(api, &steps).await?;
    let task_id = deliver(api, installation.get("GITHUB_WEBHOOK_SECRET")?, &steps).await?;
    expect_review_task(api, &task_id, &steps).await?;
    let agent = registered::register(api, "example-reviewer", CAPABILITY, &steps).await?;
    let mut process = ExampleAgent::start(layout, api, &agent, &service)?;
    steps.say(
        "the example agent starts (agents/examples/code_review/agent.py), invited over RabbitMQ",
    );
    let finished = follow(api, &task_id, &mut process, &steps).await;
    process.stop().await;
    report::print_task(api, &finished?, &agent).await
}

/// The demo's service, made when it is not there; gives its id.
async fn ensure_service(api: &Api, steps: &Steps) -> Result<String> {
    if let Some(id) = find_service(api).await? {
        steps.say(&format!("service {SERVICE} is there"));
        return Ok(id);
    }
    let body = json!({
        "name": SERVICE,
        "description": "Example of a metered model service",
        "budget_usd": 100,
        "period": "month",
    });
    let service = api
        .post("/api/services", &body)
        .await
        .context("creating the service")?;
    steps.say(&format!(
        "service {SERVICE} created with a budget of 100 USD a month"
    ));
    text(&service, "id")
}

async fn find_service(api: &Api) -> Result<Option<String>> {
    let mut path = "/api/services?limit=200".to_owned();
    loop {
        let page = api.get(&path).await?;
        let items = page["items"]
            .as_array()
            .context("the list of services has no items")?;
        if let Some(service) = items.iter().find(|service| service["name"] == SERVICE) {
            return Ok(Some(text(service, "id")?));
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/services?limit=200&cursor={cursor}"),
            None => return Ok(None),
        }
    }
}

/// Posts the pull request as GitHub would; gives the id of the task it became.
async fn deliver(api: &Api, secret: &str, steps: &Steps) -> Result<String> {
    let delivery = delivery::fresh()?;
    steps.say(&format!(
        "GitHub delivers pull_request.opened: {} (signed, delivery {})",
        delivery.subject, delivery.id
    ));
    let secret = secret.split(',').next().unwrap_or(secret).trim();
    let answer = api
        .deliver(&delivery, secret)
        .await
        .context("delivering the pull request")?;
    match answer["status"].as_str() {
        Some("accepted") => text(&answer, "task_id"),
        other => bail!("the delivery was not accepted but answered {other:?}: {answer}"),
    }
}

async fn expect_review_task(api: &Api, task_id: &str, steps: &Steps) -> Result<()> {
    let task = api
        .get(&format!("/api/tasks/{task_id}"))
        .await
        .context("reading the new task")?;
    let (title, priority) = (text(&task, "title")?, text(&task, "priority")?);
    if priority != "CRITICAL" || !title.starts_with("Code Review") {
        bail!(
            "the pull request became \"{title}\" ({priority}), not a CRITICAL \"Code Review\" task"
        );
    }
    steps.say(&format!("task appears: {priority} \"{title}\""));
    Ok(())
}

/// Prints every change of the task until it is finished; gives the finished task.
async fn follow(
    api: &Api,
    task_id: &str,
    process: &mut ExampleAgent,
    steps: &Steps,
) -> Result<Value> {
    let started = Instant::now();
    let mut seen = 0;
    loop {
        let history = api
            .get(&format!("/api/tasks/{task_id}/events?limit=200"))
            .await?;
        let events = history["items"]
            .as_array()
            .context("the history has no items")?;
        for event in events.iter().skip(seen) {
            steps.say(&report::event(event));
        }
        seen = events.len();
        let task = api.get(&format!("/api/tasks/{task_id}")).await?;
        match task["status"].as_str() {
            // A change between the two questions would be missing in what was printed.
            Some("DONE") if events.iter().any(|event| event["to_status"] == "DONE") => {
                return Ok(task);
            }
            Some(status @ ("FAILED" | "CANCELLED")) => bail!(
                "the task ended as {status}: {}\n{}",
                task["last_error"],
                process.said()
            ),
            _ if started.elapsed() > PATIENCE => bail!(
                "the task is still {} after {} s\n{}",
                task["status"],
                PATIENCE.as_secs(),
                process.said()
            ),
            _ => process.keep_running()?,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
