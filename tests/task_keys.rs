//! Idempotency keys of tasks: they last as long as the rows they name, and name one request.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::service;
use crate::support::http::{Answer, Http, send};
use crate::support::queue::{create, start};
use crate::support::{Database, refusal, sqlstate};

async fn create_all(session: &mut PgConnection, tasks: Value) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("select devart.create_tasks($1)")
        .bind(tasks)
        .fetch_all(session)
        .await
}

#[tokio::test]
async fn a_key_used_for_anything_else_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session_as(db.person("supervisor").await?).await?;
    let other_service = service(&db.owner, "model", "10").await?;
    let request = json!({
        "title": "t", "priority": "HIGH", "payload": {"a": 1}, "required_capabilities": ["x", "y"],
        "run_at": "2999-01-01T00:00:00Z", "max_retries": 2, "timeout_seconds": 60,
        "estimated_cost_usd": "1.5",
        "idempotency_key": "k",
    });
    let id = create(&mut session, request.clone()).await?;
    let same = json!({
        "required_capabilities": ["y", "x"], "run_at": "2999-01-01T01:00:00+01:00",
        "estimated_cost_usd": "1.500",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    });
    // What became of the task meanwhile says nothing about the request.
    sqlx::query("select devart.update_task($1, '{\"title\": \"edited\", \"run_at\": null}')")
        .bind(id)
        .execute(&mut session)
        .await?;
    for (changes, expected) in [
        (json!({}), "ok"),
        (same, "ok"),
        (json!({"title": "u"}), "23505"),
        (json!({"priority": "LOW"}), "23505"),
        (json!({"priority": null}), "23505"),
        (json!({"payload": {"a": 2}}), "23505"),
        (json!({"required_capabilities": ["x"]}), "23505"),
        (json!({"run_at": "2999-01-01T00:00:01Z"}), "23505"),
        (json!({"max_retries": 3}), "23505"),
        (json!({"estimated_cost_usd": "1.6"}), "23505"),
        (json!({"estimated_cost_usd": null}), "23505"),
        (json!({"service_id": other_service}), "23505"),
        (json!({"timeout_seconds": 61}), "23505"),
        (json!({"timeout_seconds": null}), "23505"),
        (json!({"needs_approval": true}), "23505"),
        (json!({"depends_on": [Uuid::now_v7()]}), "23505"),
    ] {
        let mut again = request.clone();
        for (name, value) in changes.as_object().expect("an object") {
            again[name] = value.clone();
        }
        let outcome = create(&mut session, again).await;
        assert_eq!(sqlstate(&outcome), expected, "{changes}");
        if let Ok(found) = outcome {
            assert_eq!(found, id, "{changes}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_with_known_keys_gives_for_each_what_create_task_would() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session_as(db.person("supervisor").await?).await?;
    let known = create(
        &mut session,
        json!({"title": "known", "idempotency_key": "1"}),
    )
    .await?;
    let batch = json!([
        {"title": "a"},
        {"title": "known", "idempotency_key": "1"},
        {"title": "b", "idempotency_key": "2"},
        {"title": "b", "idempotency_key": "2"},
    ]);
    let first = create_all(&mut session, batch.clone()).await?;
    assert_eq!((first.len(), first[1], first[2]), (4, known, first[3]));
    let second = create_all(&mut session, batch).await?;
    assert_eq!(second[1..], first[1..]);
    assert_ne!(second[0], first[0], "without a key each is another");
    let other = create_all(
        &mut session,
        json!([{"title": "c", "idempotency_key": "2"}]),
    )
    .await;
    assert_eq!(sqlstate(&other), "23505");
    Ok(())
}

async fn post_keyed(http: &Http, body: Value) -> Result<Answer> {
    let request = http.request(Method::POST, "/api/tasks");
    send(request.header("idempotency-key", "k").json(&body)).await
}

/// Lets two days pass, after which no answer is kept any more.
async fn forget_answers(db: &Database) -> Result<()> {
    sqlx::query("update devart_private.idempotency set created_at = now() - interval '2 days'")
        .execute(&db.owner)
        .await?;
    db.maintain().await?;
    let kept: i64 = sqlx::query_scalar("select count(*) from devart_private.idempotency")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(kept, 0);
    Ok(())
}

#[tokio::test]
async fn over_http_a_key_lasts_as_long_as_its_task() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = post_keyed(&http, json!({"title": "t"})).await?.expect(201);
        ids.push(answer["id"].clone());
        forget_answers(&db).await?;
    }
    assert_eq!(ids[0], ids[1]);
    let other = post_keyed(&http, json!({"title": "u"})).await?;
    assert_eq!(other.problem(409), "duplicate");
    Ok(())
}

/// What the agent of an attempt at the parent asks for; the answer's status and id.
async fn child(agent: &Http, parent: Uuid, key: &str, body: Value) -> Result<(u16, Value)> {
    let mut child = json!({"title": "child", "parent_task_id": parent, "timeout_seconds": 60});
    for (name, value) in body.as_object().expect("an object") {
        child[name] = value.clone();
    }
    let request = agent.request(Method::POST, "/api/tasks");
    let answer = send(request.header("idempotency-key", key).json(&child)).await?;
    Ok((answer.status, answer.body["id"].clone()))
}

#[tokio::test]
async fn a_child_is_made_once_whoever_attempts_its_parent_and_however_late() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let (first, second) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let parent = create(&db.owner, json!({"title": "parent"})).await?;
    let mut ids = Vec::new();
    for agent in [&first, &first, &second] {
        let held = start(&db.owner, parent, agent.id).await?.context("it")?;
        let http = api.agent(agent);
        for _ in 0..2 {
            let (status, id) = child(&http, parent, "k", json!({})).await?;
            assert_eq!(status, 201);
            ids.push(id);
        }
        for other in [
            json!({"title": "other"}),
            json!({"timeout_seconds": 61}),
            json!({"payload": {"n": 1}}),
        ] {
            assert_eq!(child(&http, parent, "k", other).await?.0, 409);
        }
        // Whoever works on the parent sees its child, and may let another one wait for it.
        let path = format!("/api/tasks/{}", ids[0].as_str().context("an id")?);
        assert_eq!(http.get(&path).await?.expect(200)["id"], ids[0]);
        let waiting = json!({"title": "next", "depends_on": [ids[0]]});
        assert_eq!(child(&http, parent, "next", waiting).await?.0, 201);
        sqlx::query("select devart.release_task($1, $2)")
            .bind(parent)
            .bind(held.lease_token)
            .execute(&db.owner)
            .await?;
        assert_eq!(child(&http, parent, "late", json!({})).await?.0, 403);
        forget_answers(&db).await?;
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let path = format!("/api/tasks/{}", ids[0].as_str().context("an id")?);
    api.agent(&second).get(&path).await?.problem(404);
    let tasks: i64 = sqlx::query_scalar("select count(*) from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(tasks, 3);
    Ok(())
}

#[tokio::test]
async fn a_child_that_people_made_is_no_agents() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let parent = create(&db.owner, json!({"title": "parent"})).await?;
    let request = json!({"title": "child", "parent_task_id": parent, "idempotency_key": "k"});
    let mut person = db.session_as(db.person("supervisor").await?).await?;
    let of_person = create(&mut person, request.clone()).await?;
    start(&db.owner, parent, agent.id).await?.context("it")?;
    let mut session = db.session_as(agent.caller()).await?;
    let of_agent = create(&mut session, request.clone()).await?;
    assert_ne!(of_agent, of_person);
    assert_eq!(create(&mut session, request.clone()).await?, of_agent);
    assert_eq!(create(&mut person, request).await?, of_person);
    Ok(())
}

#[tokio::test]
async fn a_payload_that_would_become_a_gigabyte_is_refused_before_its_key_is_looked_up()
-> Result<()> {
    let db = Database::create().await?;
    // 45 kB, which are 650 MB of text.
    let refused = sqlx::query(
        "select devart.create_task(
             't', payload => ('[' || repeat('1e131071,', 5000) || '1]')::jsonb,
             idempotency_key => 'k')",
    )
    .execute(&db.owner)
    .await;
    assert_eq!(sqlstate(&refused), "22023");
    assert!(refusal(refused).starts_with("payload"));
    create(&db.owner, json!({"title": "t", "idempotency_key": "k"})).await?;
    Ok(())
}
