//! The table of docs/security.md at the API's door.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::queue::{create, start};
use crate::support::{Caller, Database};

/// The columns below.
const CALLERS: [&str; 5] = ["anon", "viewer", "supervisor", "admin", "agent"];

/// Method, path and body, and `+` for each caller who may. `{task}` waits, `{own}` is the agent's and
/// in progress, `{dead}` is cancelled; `{other}` is another agent.
const MAY: &[(&str, &str, &str, &str)] = &[
    ("GET", "/api/tasks/{task}", "", "-+++-"),
    ("GET", "/api/tasks/{own}", "", "-++++"),
    ("GET", "/api/tasks/{task}/events", "", "-+++-"),
    ("GET", "/api/tasks/{own}/events", "", "-++++"),
    ("GET", "/api/services", "", "-++++"),
    ("GET", "/api/services/status", "", "-++++"),
    ("GET", "/api/settings", "", "-+++-"),
    ("GET", "/api/settings/max_rescues", "", "-+++-"),
    ("GET", "/api/approvals", "", "-+++-"),
    ("GET", "/api/me", "", "-++++"),
    ("POST", "/api/tasks", r#"{"title": "t"}"#, "--++-"),
    (
        "POST",
        "/api/tasks",
        r#"{"title": "t", "parent_task_id": "{own}"}"#,
        "--+++",
    ),
    ("PUT", "/api/tasks/{task}", r#"{"title": "u"}"#, "--++-"),
    ("POST", "/api/tasks/{task}/cancel", "{}", "--++-"),
    ("POST", "/api/tasks/{dead}/retry", "{}", "--++-"),
    ("DELETE", "/api/tasks/{task}", "", "--++-"),
    ("POST", "/api/tasks/claim", "{}", "----+"),
    ("POST", "/api/tasks/{task}/start", "{}", "----+"),
    (
        "PUT",
        "/api/tasks/{own}/status",
        r#"{"status": "DONE", "lease_token": "{token}"}"#,
        "----+",
    ),
    (
        "POST",
        "/api/tasks/{own}/report-failure",
        r#"{"lease_token": "{token}", "error": "e"}"#,
        "----+",
    ),
    (
        "POST",
        "/api/tasks/{own}/extend-lease",
        r#"{"lease_token": "{token}"}"#,
        "----+",
    ),
    (
        "POST",
        "/api/tasks/{own}/release",
        r#"{"lease_token": "{token}"}"#,
        "----+",
    ),
    ("PUT", "/api/agents/heartbeat", "{}", "----+"),
    (
        "POST",
        "/api/services/{service}/charges",
        r#"{"amount_usd": 0.1}"#,
        "----+",
    ),
    (
        "POST",
        "/api/tasks/dispatch",
        r#"{"service_id": "{service}", "estimate_usd": 0.1}"#,
        "----+",
    ),
    (
        "POST",
        "/api/charges/{hold}/settle",
        r#"{"amount_usd": 0.1}"#,
        "----+",
    ),
    ("POST", "/api/charges/{hold}/release", "{}", "--+++"),
    ("POST", "/api/charges/{hold}/dispatched", "{}", "----+"),
    (
        "POST",
        "/api/charges/{hold}/extend",
        r#"{"more_usd": 0.1}"#,
        "----+",
    ),
    (
        "POST",
        "/api/charges/{charge}/correct",
        r#"{"amount_usd": 0.1, "reason": "r"}"#,
        "---+-",
    ),
    (
        "POST",
        "/api/services/{service}/increase-budget",
        r#"{"budget_usd": 5}"#,
        "--++-",
    ),
    (
        "POST",
        "/api/services/{service}/defer",
        r#"{"seconds": 0}"#,
        "--+++",
    ),
    (
        "PUT",
        "/api/services/{service}",
        r#"{"hard_limit": false}"#,
        "---+-",
    ),
    (
        "POST",
        "/api/services/{service}/prices",
        r#"{"unit": "second", "usd_per_unit": 1}"#,
        "---+-",
    ),
    (
        "PUT",
        "/api/services/{service}/prices/{price}",
        r#"{"usd_per_unit": 2}"#,
        "---+-",
    ),
    (
        "POST",
        "/api/services/{service}/prices/{price}/end",
        "{}",
        "---+-",
    ),
    (
        "POST",
        "/api/budgets",
        r#"{"scope": "user", "scope_id": "{task}", "budget_usd": 5}"#,
        "---+-",
    ),
    (
        "PUT",
        "/api/budgets/{budget}",
        r#"{"budget_usd": 6}"#,
        "---+-",
    ),
    ("DELETE", "/api/budgets/{budget}", "", "---+-"),
    // Only a key is exchanged for a token, and these callers come with tokens.
    ("POST", "/api/agents/token", "{}", "-----"),
    (
        "POST",
        "/api/agents/register",
        r#"{"name": "{unique}"}"#,
        "--++-",
    ),
    (
        "PUT",
        "/api/agents/{other}/activation",
        r#"{"active": false}"#,
        "--++-",
    ),
    ("POST", "/api/agents/{other}/keys", "{}", "--++-"),
    ("DELETE", "/api/agents/{other}/keys/{key}", "", "--++-"),
    (
        "POST",
        "/api/approvals/{approval}/decision",
        r#"{"decision": "approve"}"#,
        "--++-",
    ),
    // "POST /api/stop" would stop what the other lines try: tests/stop_doors.rs.
    ("GET", "/api/stop", "", "-+++-"),
    ("POST", "/api/stop/release", "", "--++-"),
    ("POST", "/api/agents/{other}/pause", "{}", "--++-"),
    ("POST", "/api/agents/{other}/resume", "", "--++-"),
    ("POST", "/api/services/{service}/pause", "{}", "--++-"),
    ("POST", "/api/services/{service}/resume", "", "--++-"),
    ("POST", "/api/workflow-runs/{run}/pause", "{}", "--++-"),
    ("POST", "/api/workflow-runs/{run}/resume", "", "--++-"),
    ("POST", "/api/tasks/{task}/pause", "{}", "--++-"),
    ("POST", "/api/tasks/{task}/resume", "", "--++-"),
    ("POST", "/api/services", r#"{"name": "{unique}"}"#, "---+-"),
    (
        "PUT",
        "/api/settings/max_rescues",
        r#"{"value": 5}"#,
        "---+-",
    ),
];

/// Things to act on: fresh for each attempt, since over HTTP nothing is rolled back.
async fn things(db: &Database, agent_id: Uuid) -> Result<Vec<(&'static str, String)>> {
    let own = create(&db.owner, json!({"title": "own"})).await?;
    let claim = start(&db.owner, own, agent_id).await?.context("a claim")?;
    let task = create(&db.owner, json!({"title": "waiting"})).await?;
    let dead = create(&db.owner, json!({"title": "dead"})).await?;
    sqlx::query("select devart.cancel_task($1)")
        .bind(dead)
        .execute(&db.owner)
        .await?;
    let asking = create(
        &db.owner,
        json!({"title": "asking", "needs_approval": true}),
    )
    .await?;
    let other = db.agent(&[]).await?;
    let one = async |query: &'static str| -> sqlx::Result<Uuid> {
        sqlx::query_scalar(query)
            .bind(asking)
            .fetch_one(&db.owner)
            .await
    };
    let approval = one("select id from devart.approvals where subject_id = $1").await?;
    let service = one(
        "insert into devart.service_registry (name, budget_usd) values (gen_random_uuid()::text, 4) returning id",
    )
    .await?;
    let budget = one(
        "insert into devart.budgets (scope, scope_id, budget_usd) values ('user', gen_random_uuid(), 5) returning id",
    )
    .await?;
    let price: Uuid =
        sqlx::query_scalar("select (devart.set_service_price($1, 'wrongly_priced', 1)).id")
            .bind(service)
            .fetch_one(&db.owner)
            .await?;
    let charge: Uuid = sqlx::query_scalar(
        "insert into devart.charges (service_id, window_id, amount_usd, kind)
         select id, window_id, 0, 'settle' from devart.service_registry where id = $1
         returning id",
    )
    .bind(service)
    .fetch_one(&db.owner)
    .await?;
    let mut session = db.session_as(Caller::Agent(agent_id)).await?;
    let hold: String = sqlx::query_scalar("select devart.reserve_charge($1, 1) ->> 'hold_id'")
        .bind(service)
        .fetch_one(&mut session)
        .await?;
    let run = one(
        "update devart.tasks set workflow_run_id = gen_random_uuid() where id = $1 returning workflow_run_id",
    )
    .await?;
    Ok(vec![
        ("{own}", own.to_string()),
        ("{run}", run.to_string()),
        ("{token}", claim.lease_token.to_string()),
        ("{task}", task.to_string()),
        ("{dead}", dead.to_string()),
        ("{other}", other.id.to_string()),
        ("{key}", other.key_id),
        ("{approval}", approval.to_string()),
        ("{service}", service.to_string()),
        ("{budget}", budget.to_string()),
        ("{hold}", hold),
        ("{charge}", charge.to_string()),
        ("{price}", price.to_string()),
        ("{unique}", format!("named {own}")),
    ])
}

fn fill(text: &str, things: &[(&str, String)]) -> String {
    let replace = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    things.iter().fold(text.to_owned(), replace)
}

fn body(text: &str) -> Result<Option<Value>> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(text)?))
}

#[tokio::test]
async fn each_caller_of_the_api_may_what_the_table_says_and_nothing_else() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start_with(
        &db.authenticator_url(),
        &[("API_MAINTAIN_INTERVAL_MS", "600000")],
    )
    .await?;
    let agent = db.agent(&[]).await?;
    let callers = [
        Caller::Anon,
        db.person("viewer").await?,
        db.person("supervisor").await?,
        db.person("admin").await?,
        agent.caller(),
    ];
    let mut wrong = Vec::new();
    for (method, path, text, expected) in MAY {
        for (index, name) in CALLERS.iter().enumerate() {
            let things = things(&db, agent.id).await?;
            let client = api.client(callers[index]);
            let answer = client
                .call(method, &fill(path, &things), body(&fill(text, &things))?)
                .await?;
            let right = match (expected.as_bytes()[index], index) {
                (b'+', _) => (200..300).contains(&answer.status),
                (_, 0) => answer.status == 401,
                // What a caller may not see, does not exist for it.
                _ => [403, 404].contains(&answer.status),
            };
            if !right {
                wrong.push(format!(
                    "{name} {method} {path}: {} {}",
                    answer.status, answer.text
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn every_documented_endpoint_has_its_line_in_the_table_or_a_test_of_its_own() -> Result<()> {
    const ELSEWHERE: [&str; 12] = [
        "get /healthz",
        "get /readyz",
        "get /metrics",
        "post /auth/v1/token",
        "post /api/webhooks/github",
        "post /api/stop",
        "get /api/tasks",
        "get /api/agents",
        "get /api/budgets",
        "get /api/services/{id}/prices",
        "get /api/openapi.json",
        "get /api/docs",
    ];
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let document = api.anonymous.get("/api/openapi.json").await?.expect(200);
    let mut undecided = Vec::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for method in methods.as_object().context("methods")?.keys() {
            let decided = MAY.iter().any(|(verb, route, ..)| {
                verb.eq_ignore_ascii_case(method) && same_route(route, path)
            });
            let endpoint = format!("{method} {path}");
            if !decided && !ELSEWHERE.contains(&endpoint.as_str()) {
                undecided.push(endpoint);
            }
        }
    }
    assert!(
        undecided.is_empty(),
        "nobody decided who may call {undecided:#?}"
    );
    Ok(())
}

/// `/api/tasks/{own}/status` against `/api/tasks/{id}/status`.
fn same_route(ours: &str, documented: &str) -> bool {
    let (ours, documented) = (ours.split('/'), documented.split('/'));
    ours.clone().count() == documented.clone().count()
        && ours
            .zip(documented)
            .all(|(left, right)| left == right || right.starts_with('{'))
}

#[tokio::test]
async fn an_agent_lists_only_what_is_its_own() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let things = things(&db, agent.id).await?;
    for (path, own) in [
        ("/api/tasks", &things[0].1),
        ("/api/agents", &agent.id.to_string()),
    ] {
        let listed = api.agent(&agent).get(path).await?.expect(200);
        let ids: Vec<&str> = listed["items"]
            .as_array()
            .context("items")?
            .iter()
            .filter_map(|item| item["id"].as_str())
            .collect();
        assert_eq!(ids, [own], "{path}");
        api.anonymous.get(path).await?.problem(401);
    }
    Ok(())
}
