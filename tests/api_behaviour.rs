//! What the API does beyond calling functions: long polls, keys, pages, restarts.

use anyhow::{Context, Result};
use devart_cli::cluster::StopMode;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::budget;
use crate::support::cluster::{self, DATABASE};
use crate::support::http::{Http, send};
use crate::support::queue::{create, create_many};
use crate::support::wait::eventually;
use crate::support::{Caller, Database};

#[tokio::test]
async fn a_waiting_claim_is_answered_by_a_task_created_later() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let http = api.agent(&db.agent(&[]).await?);
        waiting.push(tokio::spawn(async move {
            http.post(
                "/api/tasks/claim",
                json!({"max_tasks": 1, "wait_seconds": 20}),
            )
            .await
        }));
    }
    eventually("all wait", async || {
        (api.metric("devart_waiting_claims").await.ok()? >= 30.0).then_some(())
    })
    .await;
    let busy: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where usename = 'authenticator' and datname = current_database() and state <> 'idle'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(busy, 0, "waiting takes no database connection");
    create_many(&db.owner, 30).await?;
    let mut taken = std::collections::BTreeSet::new();
    for claim in waiting {
        let body = claim.await??.expect(200);
        taken.insert(body["items"][0]["task_id"].to_string());
    }
    assert_eq!(taken.len(), 30, "each got its own");
    Ok(())
}

#[tokio::test]
async fn waiting_claims_of_an_agent_that_may_take_no_more_keep_others_from_nothing() -> Result<()> {
    let db = Database::create().await?;
    db.set("max_tasks_in_hand", json!(1)).await?;
    let api = Api::start(&db).await?;
    let claim = json!({"max_tasks": 1, "wait_seconds": 20});
    let full = api.agent(&db.agent(&[]).await?);
    create_many(&db.owner, 1).await?;
    full.post("/api/tasks/claim", claim.clone())
        .await?
        .expect(200);
    let wait = |http: &Http| {
        let (http, claim) = (http.clone(), claim.clone());
        tokio::spawn(async move { http.post("/api/tasks/claim", claim).await })
    };
    let all_wait = async |count: f64| {
        eventually("they wait", async || {
            (api.metric("devart_waiting_claims").await.ok()? >= count).then_some(())
        })
        .await;
    };
    // Before the other: who came first is called first.
    let stuck: Vec<_> = (0..20).map(|_| wait(&full)).collect();
    all_wait(20.0).await;
    let other = api.agent(&db.agent(&[]).await?);
    let free = wait(&other);
    all_wait(21.0).await;
    create_many(&db.owner, 1).await?;
    free.await??.expect(200);
    assert!(
        stuck.iter().all(|claim| !claim.is_finished()),
        "answered before their time"
    );
    for claim in stuck {
        claim.abort();
    }
    Ok(())
}

#[tokio::test]
async fn a_repeated_request_with_one_key_is_answered_the_same_and_done_once() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    let request = |title: &str| {
        send(
            http.request(reqwest::Method::POST, "/api/tasks")
                .header("idempotency-key", "k")
                .json(&json!({"title": title})),
        )
    };
    let (first, second) = (
        request("once").await?.expect(201),
        request("once").await?.expect(201),
    );
    assert_eq!(first["id"], second["id"]);
    assert_eq!(request("another").await?.problem(409), "duplicate");
    assert_eq!(
        http.get("/api/tasks").await?.expect(200)["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    Ok(())
}

#[tokio::test]
async fn pages_give_every_task_once_newest_first() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("viewer").await?);
    create_many(&db.owner, 25).await?;
    create(&db.owner, json!({"title": "special", "priority": "HIGH"})).await?;
    let (mut ids, mut cursor) = (Vec::new(), Some(String::new()));
    for _page in 0..10 {
        let Some(after) = cursor.take() else { break };
        let page = http
            .get(&format!("/api/tasks?limit=10{after}"))
            .await?
            .expect(200);
        ids.extend(
            page["items"]
                .as_array()
                .context("items")?
                .iter()
                .map(|task| task["id"].to_string()),
        );
        let next = page["next_cursor"].as_str();
        cursor = next.map(|next| format!("&cursor={next}"));
    }
    assert_eq!(ids.len(), 26);
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]));
    let found = http
        .get("/api/tasks?priority=HIGH&status=TODO&q=spec")
        .await?
        .expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert!(found["items"][0].get("lease_token").is_none());
    Ok(())
}

#[tokio::test]
async fn an_agents_keys_rotate_and_a_revoked_one_ends_at_once() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let agent = supervisor
        .post(
            "/api/agents/register",
            json!({"name": "a", "capabilities": ["x"]}),
        )
        .await?
        .expect(201);
    let (id, old_key) = (
        agent["id"].as_str().context("id")?,
        agent["api_key"].as_str().context("key")?,
    );
    let new = supervisor
        .post(&format!("/api/agents/{id}/keys"), json!({}))
        .await?
        .expect(201);
    let claim = json!({"max_tasks": 1, "wait_seconds": 0});
    for key in [old_key, new["api_key"].as_str().context("key")?] {
        assert_eq!(
            api.anonymous
                .with_key(key)
                .post("/api/tasks/claim", claim.clone())
                .await?
                .status,
            204
        );
    }
    let key_id = old_key.split('_').nth(1).context("key id")?;
    assert_eq!(
        supervisor
            .delete(&format!("/api/agents/{id}/keys/{key_id}"))
            .await?
            .status,
        204
    );
    api.anonymous
        .with_key(old_key)
        .post("/api/tasks/claim", claim.clone())
        .await?
        .problem(401);

    let with_new = api
        .anonymous
        .with_key(new["api_key"].as_str().context("key")?);
    let token = with_new
        .post("/api/agents/token", json!({}))
        .await?
        .expect(200);
    let by_token = api
        .anonymous
        .with_token(token["access_token"].as_str().context("token")?);
    assert_eq!(
        by_token
            .post("/api/tasks/claim", claim.clone())
            .await?
            .status,
        204
    );
    supervisor
        .put(
            &format!("/api/agents/{id}/activation"),
            json!({"active": false}),
        )
        .await?
        .expect(200);
    by_token.post("/api/tasks/claim", claim).await?.problem(403);
    Ok(())
}

#[tokio::test]
async fn a_stopping_api_answers_those_who_wait_and_ends_well() -> Result<()> {
    let db = Database::create().await?;
    let mut api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    let waiting = tokio::spawn(async move {
        http.post(
            "/api/tasks/claim",
            json!({"max_tasks": 1, "wait_seconds": 30}),
        )
        .await
    });
    eventually("it waits", async || {
        (api.metric("devart_waiting_claims").await.ok()? >= 1.0).then_some(())
    })
    .await;
    api.ask_to_stop();
    assert_eq!(waiting.await??.status, 204);
    assert!(api.wait_for_end().await.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_goes_on_after_a_restart_of_postgres() -> Result<()> {
    let cluster = cluster::durable().await?;
    let api = Api::start_with(&cluster.authenticator_url(DATABASE), &[]).await?;
    let admin = cluster.psql(
        "devart",
        "select devart_private.put_user('a@b.c', null, 'admin')",
    )?;
    let http = api.client(Caller::Person(admin.trim().parse()?));
    http.post("/api/tasks", json!({"title": "before"}))
        .await?
        .expect(201);
    tokio::task::block_in_place(|| cluster.restart(StopMode::Fast))?;
    let listed: Value = eventually("the API answers again", async || {
        let answer = http.get("/api/tasks").await.ok()?;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!(listed["items"][0]["title"], "before");
    Ok(())
}

#[tokio::test]
async fn a_service_is_charged_until_it_refuses_with_what_remains() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let admin = api.client(db.person("admin").await?);
    let service = admin
        .post("/api/services", json!({"name": "model", "budget_usd": 1}))
        .await?
        .expect(201);
    let path = format!(
        "/api/services/{}/charges",
        service["id"].as_str().context("id")?
    );
    let agent = api.agent(&db.agent(&[]).await?);
    agent
        .post(&path, json!({"amount_usd": 0.4}))
        .await?
        .expect(200);
    let refused = agent.post(&path, json!({"amount_usd": 0.7})).await?;
    assert_eq!(refused.problem(402), "budget_exceeded");
    assert!(refused.text.contains("0.6"), "{}", refused.text);
    let listed = admin.get("/api/services/status").await?.expect(200);
    assert_eq!(listed["items"][0]["used_percent"].as_f64(), Some(40.0));
    budget::audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_openapi_document_describes_what_answers() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let document = api.anonymous.get("/api/openapi.json").await?.expect(200);
    let paths = document["paths"].as_object().context("paths")?;
    for path in [
        "/api/tasks",
        "/api/tasks/{id}",
        "/api/tasks/{id}/events",
        "/api/tasks/{id}/cancel",
        "/api/tasks/{id}/retry",
        "/api/tasks/claim",
        "/api/tasks/{id}/start",
        "/api/tasks/{id}/status",
        "/api/tasks/{id}/report-failure",
        "/api/agents",
        "/api/agents/register",
        "/api/agents/heartbeat",
        "/api/agents/{id}/activation",
        "/api/agents/token",
        "/api/agents/{id}/keys",
        "/api/services",
        "/api/services/status",
        "/api/settings",
        "/api/settings/{key}",
        "/api/webhooks/github",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    assert_eq!(api.anonymous.get("/api/docs/").await?.status, 200);
    Ok(())
}
