//! What bad input gets over HTTP: a status, the field at fault, and nothing written.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::http::send;
use crate::support::queue::{claim, create, status};

#[tokio::test]
async fn a_task_with_a_bad_field_is_refused_by_name_and_not_written() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    for (body, field) in [
        (json!({"title": "t", "priority": "URGENT"}), "priority"),
        (json!({"title": "x".repeat(501)}), "title"),
        (json!({"title": ""}), "title"),
        (json!({}), "title"),
        (json!({"title": 7}), "title"),
        (
            json!({"title": "t", "parent_task_id": "not-a-uuid"}),
            "parent_task_id",
        ),
        (
            json!({"title": "t", "parent_task_id": "00000000-0000-7000-8000-000000000000"}),
            "parent_task_id",
        ),
        (json!({"title": "t", "max_retries": 101}), "max_retries"),
        (json!({"title": "t", "colour": "red"}), "colour"),
        (
            json!({"title": "t", "description": "x".repeat(70_000)}),
            "description",
        ),
        (
            json!({"title": "t", "payload": {"x": "y".repeat(262_144)}}),
            "payload",
        ),
    ] {
        let answer = http.post("/api/tasks", body).await?;
        assert!(
            [400, 422].contains(&answer.status),
            "{field}: {}",
            answer.text
        );
        answer.problem(answer.status);
        assert!(answer.text.contains(field), "{field}: {}", answer.text);
    }
    let malformed = http
        .request(reqwest::Method::POST, "/api/tasks")
        .header("content-type", "application/json")
        .body("{\"title\": ");
    assert_eq!(send(malformed).await?.problem(400), "malformed_request");
    let too_big = http
        .post(
            "/api/tasks",
            json!({"title": "t", "payload": "x".repeat(1_100_000)}),
        )
        .await?;
    assert_eq!(too_big.status, 413);
    let written: i64 = sqlx::query_scalar("select count(*) from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(written, 0);
    Ok(())
}

#[tokio::test]
async fn bad_paths_and_queries_are_refused_by_name() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("viewer").await?);
    for (path, name) in [
        ("/api/tasks/not-a-uuid", "id"),
        ("/api/tasks?status=LOST", "status"),
        ("/api/tasks?priority=URGENT", "priority"),
        ("/api/tasks?limit=0", "limit"),
        ("/api/tasks?cursor=nonsense", "cursor"),
        ("/api/tasks?colour=red", "colour"),
    ] {
        let answer = http.get(path).await?;
        assert!(
            [400, 422].contains(&answer.status),
            "{path}: {}",
            answer.text
        );
        answer.problem(answer.status);
        assert!(answer.text.contains(name), "{path}: {}", answer.text);
    }
    assert_eq!(
        http.get("/api/tasks/00000000-0000-7000-8000-000000000000")
            .await?
            .problem(404),
        "not_found"
    );
    assert_eq!(http.get("/api/nothing").await?.problem(404), "not_found");
    Ok(())
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_told() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    for client in [
        api.anonymous.clone(),
        api.anonymous.with_token("nonsense"),
        api.anonymous
            .with_key("dva_000000000000_00000000000000000000000000000000_000000"),
    ] {
        client.get("/api/tasks").await?.problem(401);
    }
    let forged = crate::support::caller::sign(
        &json!({"sub": "x", "role": "service_role"}),
        "another secret, long enough",
    );
    api.anonymous
        .with_token(&forged)
        .get("/api/tasks")
        .await?
        .problem(401);
    let viewer = api.client(db.person("viewer").await?);
    assert_eq!(
        viewer
            .post("/api/tasks", json!({"title": "t"}))
            .await?
            .problem(403),
        "forbidden"
    );
    Ok(())
}

#[tokio::test]
async fn somebody_elses_task_is_forbidden_and_a_stale_lease_a_conflict() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.expect("a task");
    let path = format!("/api/tasks/{id}/status");
    let done = |token: Value| json!({"status": "DONE", "lease_token": token, "result": {}});

    let others = api
        .agent(&other)
        .put(&path, done(json!(claimed.lease_token)))
        .await?;
    assert_eq!(others.problem(403), "forbidden");
    let stale = api
        .agent(&agent)
        .put(&path, done(json!("00000000-0000-4000-8000-000000000000")))
        .await?;
    assert_eq!(stale.problem(409), "lease_lost");
    assert_eq!(status(&db.owner, id).await?, "IN_PROGRESS");
    api.agent(&agent)
        .put(&path, done(json!(claimed.lease_token)))
        .await?
        .expect(200);
    assert_eq!(status(&db.owner, id).await?, "DONE");
    Ok(())
}

#[tokio::test]
async fn bad_members_of_other_bodies_are_named_too() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let admin = api.client(db.person("admin").await?);
    let agent = api.agent(&db.agent(&[]).await?);
    let id = "00000000-0000-7000-8000-000000000000";
    let status = format!("/api/tasks/{id}/status");
    let failure = format!("/api/tasks/{id}/report-failure");
    for (client, method, path, body, field) in [
        (
            &agent,
            "POST",
            "/api/tasks/claim",
            json!({"max_tasks": 0}),
            "max_tasks",
        ),
        (
            &agent,
            "POST",
            "/api/tasks/claim",
            json!({"wait_seconds": 31}),
            "wait_seconds",
        ),
        (
            &agent,
            "PUT",
            &status,
            json!({"status": "LOST", "lease_token": id}),
            "status",
        ),
        (
            &agent,
            "PUT",
            &status,
            json!({"status": "DONE"}),
            "lease_token",
        ),
        (
            &agent,
            "POST",
            &failure,
            json!({"lease_token": "x", "error": "e"}),
            "lease_token",
        ),
        (
            &agent,
            "POST",
            &failure,
            json!({"lease_token": id}),
            "error",
        ),
        (
            &admin,
            "POST",
            "/api/agents/register",
            json!({"name": ""}),
            "name",
        ),
        (
            &admin,
            "POST",
            "/api/services",
            json!({"name": "s", "budget_usd": -1}),
            "budget_usd",
        ),
        (
            &admin,
            "POST",
            "/api/services",
            json!({"name": "s", "time_zone": "Mars"}),
            "time_zone",
        ),
        (
            &admin,
            "POST",
            "/api/services",
            json!({"name": "s", "substitute_service_id": id}),
            "substitute_service_id",
        ),
        (
            &admin,
            "PUT",
            "/api/settings/max_rescues",
            json!({"value": 0}),
            "value",
        ),
        (
            &admin,
            "PUT",
            "/api/settings/max_rescues",
            json!({"value": "many"}),
            "value",
        ),
        (
            &admin,
            "PUT",
            "/api/settings/max_rescues",
            json!({}),
            "value",
        ),
    ] {
        let answer = client.call(method, path, Some(body.clone())).await?;
        assert!(
            [400, 422].contains(&answer.status),
            "{path} {body}: {} {}",
            answer.status,
            answer.text
        );
        answer.problem(answer.status);
        assert_eq!(
            answer.body["field"], field,
            "{path} {body}: {}",
            answer.text
        );
    }
    admin
        .put("/api/settings/nothing", json!({"value": 1}))
        .await?
        .problem(404);
    let written: i64 = sqlx::query_scalar("select count(*) from devart.service_registry")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(written, 0);
    Ok(())
}
