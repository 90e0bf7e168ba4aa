//! `devart demo`: the main job, start to end, against the running installation. A real pull request arrives as GitHub
//! would deliver it, becomes a task, and an agent takes and finishes it. Then an agent spends a budget to its end.

mod agent;
mod alerts;
mod api;
mod delivery;
mod money;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::commands::token;
use crate::installation::Installation;
use crate::layout::Layout;
use crate::people::Role;
use crate::random;
use agent::ExampleAgent;
use alerts::Alerts;
use api::Api;

/// The service that the review is charged to.
const SERVICE: &str = "openai-gpt";

/// What the example agent can do and the task asks for.
const CAPABILITY: &str = "code-review";

/// How long the agent may take for the task, its start included.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs the main job and the story about money once, and prints each step.
pub async fn run(layout: &Layout) -> Result<()> {
    let installation = Installation::open(layout)?;
    let admin = token::make(layout, Role::Admin, 1).await?;
    let api = Api::new(installation.get("API_URL")?, &admin)?;
    review(layout, &installation, &api).await?;
    println!();
    let supervisor = token::make(layout, Role::Supervisor, 1).await?;
    let alerts = Alerts::open(layout).await?;
    money::run(&api, &api.with_token(&supervisor), alerts).await
}

/// The main job.
async fn review(layout: &Layout, installation: &Installation, api: &Api) -> Result<()> {
    let steps = Steps::begin("The main job: a pull request becomes a task, an agent finishes it.");
    let service = ensure_service(api, &steps).await?;
    let task_id = deliver(api, installation.get("GITHUB_WEBHOOK_SECRET")?, &steps).await?;
    expect_review_task(api, &task_id, &steps).await?;
    let agent = register_agent(api, "example-reviewer", CAPABILITY, &steps).await?;
    let mut process = ExampleAgent::start(layout, api, &agent, &service)?;
    steps.say(
        "the example agent starts (agents/examples/code_review/agent.py), invited over RabbitMQ",
    );
    let finished = follow(api, &task_id, &mut process, &steps).await;
    process.stop().await;
    print_task(api, &finished?, &agent).await
}

/// The table with which a task's story ends.
async fn print_task(api: &Api, finished: &Value, agent: &Registered) -> Result<()> {
    let path = format!("/api/tasks/{}/events?limit=200", text(finished, "id")?);
    let history = api.get(&path).await?;
    println!("\n{}", report::task(finished, &history, &agent.name)?);
    Ok(())
}

/// Prints steps with the time since the start.
struct Steps {
    started: Instant,
}

impl Steps {
    fn begin(title: &str) -> Self {
        println!("{title}\n");
        Self {
            started: Instant::now(),
        }
    }

    fn say(&self, text: &str) {
        println!("  {:>6.2} s  {text}", self.started.elapsed().as_secs_f64());
    }
}

/// A registered agent.
struct Registered {
    name: String,
    api_key: String,
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

/// Registers an agent with a name that nobody has yet.
async fn register_agent(
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

fn text(value: &Value, field: &str) -> Result<String> {
    let found = value.get(field).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("the answer has no {field}: {value}"))
}
