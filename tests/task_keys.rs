//! Idempotency keys of tasks: they last as long as the rows they name, and name one request.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::http::{Answer, Http, send};
use crate::support::queue::create;
use crate::support::{Database, sqlstate};

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
    let request = json!({
        "title": "t", "priority": "HIGH", "payload": {"a": 1}, "required_capabilities": ["x", "y"],
        "run_at": "2999-01-01T00:00:00Z", "max_retries": 2, "timeout_seconds": 60,
        "idempotency_key": "k",
    });
    let id = create(&mut session, request.clone()).await?;
    let same = json!({
        "required_capabilities": ["y", "x"], "run_at": "2999-01-01T01:00:00+01:00",
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

#[tokio::test]
async fn over_http_a_key_lasts_as_long_as_its_task() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = post_keyed(&http, json!({"title": "t"})).await?.expect(201);
        ids.push(answer["id"].clone());
        sqlx::query("update devart_private.idempotency set created_at = now() - interval '2 days'")
            .execute(&db.owner)
            .await?;
        db.maintain().await?;
        let kept: i64 = sqlx::query_scalar("select count(*) from devart_private.idempotency")
            .fetch_one(&db.owner)
            .await?;
        assert_eq!(kept, 0);
    }
    assert_eq!(ids[0], ids[1]);
    let other = post_keyed(&http, json!({"title": "u"})).await?;
    assert_eq!(other.problem(409), "duplicate");
    Ok(())
}
