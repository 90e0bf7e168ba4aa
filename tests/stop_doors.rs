//! Stop and pause over HTTP and by the command `devart`.

use std::process::{Command, Output};

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::service;
use crate::support::queue::create;
use crate::support::{Caller, Database, program};

#[tokio::test]
async fn supervisors_stop_everything_over_http_and_nobody_else_does() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let reason = json!({"reason": "spends too much"});
    for (caller, status) in [
        (Caller::Anon, 401),
        (db.person("viewer").await?, 403),
        (agent.caller(), 403),
    ] {
        let answer = api.client(caller).post("/api/stop", reason.clone()).await?;
        answer.problem(status);
    }
    for role in ["supervisor", "admin"] {
        let person = api.client(db.person(role).await?);
        for nonsense in [
            json!({}),
            json!({"reason": ""}),
            json!({"reason": "x".repeat(1001)}),
        ] {
            person.post("/api/stop", nonsense).await?.problem(422);
        }
        let stop = person.post("/api/stop", reason.clone()).await?.expect(200);
        assert_eq!(stop["scope"], "all");
        let stops = person.get("/api/stop").await?.expect(200);
        assert_eq!(
            (&stops["stopped"], &stops["stops"][0]),
            (&json!(true), &stop)
        );
        for resumed in [true, false] {
            let answer = person.post("/api/stop/release", json!({})).await?;
            assert_eq!(answer.expect(200), json!({"resumed": resumed}));
        }
        let stops = person.get("/api/stop").await?.expect(200);
        assert_eq!(stops, json!({"stopped": false, "stops": []}));
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_of_the_api_gets_nothing_while_it_is_stopped_and_is_told_why() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let (work, people) = (
        api.agent(&agent),
        api.client(db.person("supervisor").await?),
    );
    let service_id = service(&db.owner, "model", "10").await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let dispatch = json!({"service_id": service_id, "estimate_usd": 1});
    let charges = format!("/api/services/{service_id}/charges");
    for (stop, body, resume, code) in [
        (
            "/api/stop".to_owned(),
            json!({"reason": "why"}),
            "/api/stop/release".to_owned(),
            "stopped",
        ),
        (
            format!("/api/agents/{}/pause", agent.id),
            json!({"reason": "why"}),
            format!("/api/agents/{}/resume", agent.id),
            "paused",
        ),
    ] {
        people.post(&stop, body).await?.expect(200);
        work.post("/api/tasks/claim", json!({})).await?.expect(204);
        let started = work
            .post(&format!("/api/tasks/{task_id}/start"), json!({}))
            .await?;
        assert!(![200, 201].contains(&started.status), "{}", started.text);
        let refused = work.post("/api/tasks/dispatch", dispatch.clone()).await?;
        assert_eq!(refused.problem(402), code);
        let refused = work.post(&charges, json!({"amount_usd": 1})).await?;
        assert_eq!(refused.problem(402), code);
        let told = work
            .put("/api/agents/heartbeat", json!({}))
            .await?
            .expect(200);
        assert_eq!(told["stops"][0]["reason"], "why");
        people.post(&resume, json!({})).await?.expect(200);
        let told = work
            .put("/api/agents/heartbeat", json!({}))
            .await?
            .expect(200);
        assert_eq!(told["stops"], json!([]));
    }
    work.post("/api/tasks/claim", json!({})).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_cannot_be_paused_over_http() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let people = api.client(db.person("supervisor").await?);
    for what in ["agents", "services", "workflow-runs", "tasks"] {
        let path = format!("/api/{what}/{}", Uuid::new_v4());
        people
            .post(&format!("{path}/pause"), json!({}))
            .await?
            .problem(404);
        let resumed = people.post(&format!("{path}/resume"), json!({})).await?;
        assert_eq!(resumed.expect(200), json!({"resumed": false}));
    }
    Ok(())
}

/// `devart` on this database.
fn devart(db: &Database, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program::path("devart")?)
        .args(arguments)
        .env("DEVART_ROOT", "/tmp")
        .env("DATABASE_URL", db.url())
        .output()?)
}

#[tokio::test]
async fn the_command_stops_and_resumes() -> Result<()> {
    let db = Database::create().await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?.to_string();
    let stops = async || -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar(
            "select scope || ' ' || coalesce(reason, '-') from devart.stops order by id",
        )
        .fetch_all(&db.owner)
        .await
    };
    for (arguments, expected) in [
        (
            &["stop", "spends too much"][..],
            &["all spends too much"][..],
        ),
        (
            &["pause", "task", &task_id],
            &["all spends too much", "task -"],
        ),
        (&["resume"], &["task -"]),
        (&["resume", "task", &task_id], &[]),
        (&["resume"], &[]),
    ] {
        let output = devart(&db, arguments)?;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(stops().await?, expected, "{arguments:?}");
    }
    let unknown = Uuid::new_v4().to_string();
    let output = devart(&db, &["pause", "task", &unknown])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("names no task"), "{said}");
    Ok(())
}
