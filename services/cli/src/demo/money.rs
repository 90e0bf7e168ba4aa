//! The second half of the demo: an agent spends a small budget until nothing is left, and a
//! supervisor lets it go on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::alerts::Alerts;
use super::api::{Api, text};
use super::registered::{self, Registered};
use super::report;
use super::steps::Steps;
use crate::random;

/// How long a task may take to come back to the queue.
const PATIENCE: Duration = Duration::from_secs(15);

/// Estimated and real cost of each call that the service pays, in dollars: 0.55, 0.80 and 1.00 are
/// past 50, 80 and 100 percent of its budget.
const CALLS: [(f64, f64); 4] = [(0.35, 0.30), (0.30, 0.25), (0.30, 0.25), (0.20, 0.20)];

/// Everybody who takes part.
struct Cast<'a> {
    admin: &'a Api,
    supervisor: &'a Api,
    agent: Api,
    /// What only this run's agent can do, so that nobody else takes its tasks.
    capability: String,
    service: Service,
    substitute: Service,
    steps: &'a Steps,
    alerts: Alerts,
}

struct Service {
    id: String,
    name: String,
}

/// Runs it once and prints each step.
pub async fn run(admin: &Api, supervisor: &Api, alerts: Alerts) -> Result<()> {
    let steps = Steps::begin("Money: an agent spends a small budget, and a supervisor raises it.");
    let run = random::word(6).to_lowercase();
    let substitute =
        create_service(admin, &format!("small-model-{run}"), 0.30, None, &steps).await?;
    let service = create_service(
        admin,
        &format!("big-model-{run}"),
        1.00,
        Some(&substitute),
        &steps,
    )
    .await?;
    let capability = format!("spend-{run}");
    let agent = registered::register(admin, "example-spender", &capability, &steps).await?;
    let mut cast = Cast {
        admin,
        supervisor,
        agent: admin.with_key(&agent.api_key),
        capability,
        service,
        substitute,
        steps: &steps,
        alerts,
    };
    spend_it_all(&mut cast).await?;
    let task_id = ask_for_more(&cast).await?;
    let task = go_on(&mut cast, &task_id).await?;
    close(&cast, &agent, &task).await
}

async fn create_service(
    admin: &Api,
    name: &str,
    budget_usd: f64,
    substitute: Option<&Service>,
    steps: &Steps,
) -> Result<Service> {
    let body = json!({
        "name": name, "description": "Made by the demo", "budget_usd": budget_usd, "period": "day",
        "substitute_service_id": substitute.map(|it| &it.id),
    });
    let created = admin.post("/api/services", &body).await;
    let created = created.context("creating a service")?;
    let substitute = substitute.map_or(String::new(), |it| format!(", substitute {}", it.name));
    steps.say(&format!(
        "service {name} may spend {budget_usd:.2} USD a day{substitute}"
    ));
    Ok(Service {
        id: text(&created, "id")?,
        name: name.to_owned(),
    })
}

/// One task: call after call until neither the service nor its substitute can pay for another.
async fn spend_it_all(cast: &mut Cast<'_>) -> Result<()> {
    create_task(cast, "Summarise the archive", json!({})).await?;
    let task = claim(cast)
        .await?
        .context("the agent found nothing to do")?;
    for (estimate, cost) in CALLS {
        let hold = admitted(cast, &task, estimate).await?;
        settle(cast, &text(&hold, "hold_id")?, cost).await?;
        cast.alerts.show_new(cast.steps).await?;
    }
    let hold = admitted(cast, &task, 0.20).await?;
    let is_delegated = hold["delegated_from"] == cast.service.id.as_str();
    ensure!(is_delegated, "the substitute should have paid: {hold}");
    settle(cast, &text(&hold, "hold_id")?, 0.20).await?;
    cast.alerts.show_new(cast.steps).await?;
    refused(cast, &task, 0.25).await?;
    complete(cast, &task).await?;
    Ok(())
}

/// Sets money aside, with the service or its substitute.
async fn admitted(cast: &Cast<'_>, task: &Value, estimate: f64) -> Result<Value> {
    let (status, answer) = dispatch(cast, task, estimate).await?;
    ensure!(status == 200, "the call was refused: {answer}");
    let line = if answer["delegated_from"].is_string() {
        format!(
            "{estimate:.2} USD are held by {} (delegated_from {}: {})",
            cast.substitute.name,
            cast.service.name,
            answer["reason"].as_str().unwrap_or("no reason"),
        )
    } else {
        format!("{estimate:.2} USD are held by {}", cast.service.name)
    };
    cast.steps.say(&line);
    Ok(answer)
}

/// Neither of the two has so much left.
async fn refused(cast: &Cast<'_>, task: &Value, estimate: f64) -> Result<()> {
    let (status, answer) = dispatch(cast, task, estimate).await?;
    ensure!(
        status == 402,
        "nobody could pay, but the answer was {status}: {answer}"
    );
    cast.steps.say(&format!(
        "{estimate:.2} USD are refused (402): {}; remaining {} USD, needed {} USD",
        answer["reason"].as_str().unwrap_or("no reason"),
        answer["remaining_usd"],
        answer["needed_usd"],
    ));
    Ok(())
}

async fn dispatch(cast: &Cast<'_>, task: &Value, estimate: f64) -> Result<(u16, Value)> {
    let body = json!({
        "service_id": cast.service.id, "estimate_usd": estimate,
        "task_id": task["task_id"], "lease_token": task["lease_token"], "ask": false,
    });
    cast.agent.ask("/api/tasks/dispatch", &body).await
}

async fn settle(cast: &Cast<'_>, hold: &str, cost: f64) -> Result<()> {
    let path = format!("/api/charges/{hold}/settle");
    let settled = cast.agent.post(&path, &json!({"amount_usd": cost})).await?;
    let suspended = if settled["suspended"] == true {
        ", suspended"
    } else {
        ""
    };
    cast.steps.say(&format!(
        "settled at {} USD, {} USD remain{suspended}",
        settled["charged_usd"], settled["remaining_usd"]
    ));
    Ok(())
}

/// A task that says what it will cost is not handed out without the money: it waits, and asks
/// people.
async fn ask_for_more(cast: &Cast<'_>) -> Result<String> {
    let costs = json!({"service_id": cast.service.id, "estimated_cost_usd": 0.5});
    let task_id = create_task(cast, "Translate the archive", costs).await?;
    ensure!(
        claim(cast).await?.is_none(),
        "a task without money was handed out"
    );
    let task = cast.admin.get(&format!("/api/tasks/{task_id}")).await?;
    ensure!(
        task["status"] == "AWAITING_APPROVAL",
        "the task should wait for budget, but it is {}",
        task["status"]
    );
    let approval = approval_for(cast, &task_id).await?;
    cast.steps.say(&format!(
        "the claim finds no money for it: task is AWAITING_APPROVAL, people are asked (needed {} USD, {})",
        approval["detail"]["needed_usd"],
        approval["detail"]["reason"].as_str().unwrap_or("no reason"),
    ));
    Ok(task_id)
}

async fn approval_for(cast: &Cast<'_>, task_id: &str) -> Result<Value> {
    let pending = cast
        .supervisor
        .get("/api/approvals?status=PENDING&limit=200")
        .await?;
    let items = pending["items"]
        .as_array()
        .context("the approvals have no items")?;
    let ours = items.iter().find(|it| it["subject_id"] == task_id);
    ours.cloned().context("nobody was asked about the task")
}

/// The supervisor raises the budget, which ends the suspension and lets the task go. Gives the
/// finished task.
async fn go_on(cast: &mut Cast<'_>, task_id: &str) -> Result<Value> {
    let path = format!("/api/services/{}/increase-budget", cast.service.id);
    let raised = cast
        .supervisor
        .post(&path, &json!({"amount_usd": 1}))
        .await?;
    cast.steps.say(&format!(
        "a supervisor raises the budget of {} to {} USD: it is {}",
        cast.service.name,
        raised["budget_usd"],
        raised["status"].as_str().unwrap_or("?"),
    ));
    let task = claim_within(cast, PATIENCE).await?;
    ensure!(
        task["task_id"] == task_id,
        "another task was handed out: {task}"
    );
    settle(cast, &text(&task, "hold_id")?, 0.45).await?;
    complete(cast, &task).await?;
    cast.alerts.show_new(cast.steps).await?;
    cast.admin.get(&format!("/api/tasks/{task_id}")).await
}

async fn create_task(cast: &Cast<'_>, title: &str, more: Value) -> Result<String> {
    let mut body = json!({"title": title, "required_capabilities": [cast.capability]});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let task = cast
        .admin
        .post("/api/tasks", &body)
        .await
        .context("creating a task")?;
    let estimate = match more.get("estimated_cost_usd") {
        Some(estimate) => format!(" (estimated {estimate} USD)"),
        None => String::new(),
    };
    cast.steps
        .say(&format!("task appears: \"{title}\"{estimate}"));
    text(&task, "id")
}

async fn claim(cast: &Cast<'_>) -> Result<Option<Value>> {
    let (status, answer) = cast.agent.ask("/api/tasks/claim", &json!({})).await?;
    match status {
        200 => {
            let task = answer["items"][0].clone();
            let held = if task["hold_id"].is_string() {
                ", its money is held"
            } else {
                ""
            };
            let title = text(&task, "title")?;
            cast.steps
                .say(&format!("the agent claims \"{title}\"{held}"));
            Ok(Some(task))
        }
        204 => Ok(None),
        _ => bail!("the claim was answered {status}: {answer}"),
    }
}

async fn claim_within(cast: &Cast<'_>, patience: Duration) -> Result<Value> {
    let started = Instant::now();
    loop {
        if let Some(task) = claim(cast).await? {
            return Ok(task);
        }
        ensure!(
            started.elapsed() < patience,
            "the task did not come back to the queue"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn complete(cast: &Cast<'_>, task: &Value) -> Result<()> {
    let path = format!("/api/tasks/{}/status", text(task, "task_id")?);
    let body = json!({"status": "DONE", "lease_token": task["lease_token"]});
    cast.agent
        .put(&path, &body)
        .await
        .context("completing the task")?;
    cast.steps
        .say(&format!("task \"{}\" is DONE", text(task, "title")?));
    Ok(())
}

async fn close(cast: &Cast<'_>, agent: &Registered, task: &Value) -> Result<()> {
    let listed = cast.admin.get("/api/services/status?limit=200").await?;
    let listed = listed["items"]
        .as_array()
        .context("the services have no items")?;
    // Newest first, as they were made.
    let ours = [&cast.service, &cast.substitute].map(|it| it.id.as_str());
    let ours = listed
        .iter()
        .filter(|row| ours.iter().any(|id| row["id"] == *id));
    say!("\n{}", report::services(ours)?);
    report::print_task(cast.admin, task, agent).await
}
