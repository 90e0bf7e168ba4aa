//! A kept answer is given only to who may still ask the question.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::budget::{hold_of, reserve_with, service};
use crate::support::http::{Answer, Http, send};
use crate::support::queue::{claim, create, expire_lease};
use crate::support::{Caller, Database, sqlstate};

async fn keyed(client: &Http, path: &str, body: Value) -> Result<Answer> {
    let request = client.request(Method::POST, path).json(&body);
    send(request.header("idempotency-key", "k")).await
}

async fn set_role(db: &Database, person: Caller, role: Option<&str>) -> Result<()> {
    let Caller::Person(id) = person else {
        unreachable!()
    };
    let sql = match role {
        Some(_) => "update devart.user_roles set role = $2::devart.app_role where user_id = $1",
        None => "delete from devart.user_roles where user_id = $1 and $2::text is null",
    };
    sqlx::query(sql)
        .bind(id)
        .bind(role)
        .execute(&db.owner)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_person_who_may_do_less_now_gets_no_answer_from_before() -> Result<()> {
    let db = Database::create().await?;
    let person = db.person("supervisor").await?;
    let api = Api::start(&db).await?;
    let client = api.client(person);
    let ask = async || keyed(&client, "/api/tasks", json!({"title": "t"})).await;
    let first = ask().await?.expect(201);
    for (role, answered) in [
        (Some("supervisor"), true),
        (Some("admin"), true),
        (Some("viewer"), false),
        (None, false),
    ] {
        set_role(&db, person, role).await?;
        let again = ask().await?;
        match answered {
            true => assert_eq!(again.expect(201)["id"], first["id"], "{role:?}"),
            false => assert_eq!(again.problem(403), "forbidden", "{role:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_that_may_not_act_gets_no_answer_from_before() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let api = Api::start(&db).await?;
    let exchanged = api
        .agent(&agent)
        .post("/api/agents/token", json!({}))
        .await?;
    let token = exchanged.expect(200)["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let client = api.anonymous.with_token(&token);
    let dispatch = json!({"service_id": id, "estimate_usd": 1});
    let ask = async || keyed(&client, "/api/tasks/dispatch", dispatch.clone()).await;
    let first = ask().await?.expect(200);
    assert_eq!(ask().await?.expect(200), first);
    sqlx::query("update devart_private.agent_api_keys set revoked_at = now()")
        .execute(&db.owner)
        .await?;
    assert_eq!(ask().await?.problem(403), "forbidden");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_lost_its_task_gets_no_answer_for_it_from_before() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim(&db.owner, agent.id).await?.expect("the task");
    let mut session = db.session_as(agent.caller()).await?;
    for sql in [
        "select devart.charge_service($1, 1, $2, 'charge')",
        "select devart.reserve_charge($1, 1, null, $2, idempotency_key => 'reserve')",
        "select devart.dispatch_task($1, 1, null, $2, idempotency_key => 'dispatch')",
    ] {
        let mut ask = async || -> sqlx::Result<Value> {
            let query = sqlx::query_scalar(sql).bind(id).bind(task.task_id);
            query.fetch_one(&mut session).await
        };
        let first = ask().await?;
        assert_eq!(ask().await?, first, "{sql}");
    }
    expire_lease(&db.owner, task.task_id).await?;
    db.maintain().await?;
    for sql in [
        "select devart.charge_service($1, 1, $2, 'charge')",
        "select devart.reserve_charge($1, 1, null, $2, idempotency_key => 'reserve')",
        "select devart.dispatch_task($1, 1, null, $2, idempotency_key => 'dispatch')",
    ] {
        let again = sqlx::query(sql)
            .bind(id)
            .bind(task.task_id)
            .execute(&mut session)
            .await;
        assert_eq!(sqlstate(&again), "42501", "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn keys_of_charges_are_forgotten_when_no_hold_of_theirs_can_be_open() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let mut holds = Vec::new();
    for key in ["old", "young"] {
        let request = json!({"estimate_usd": 1, "idempotency_key": key});
        holds.push(hold_of(&reserve_with(&db.owner, id, request).await?));
    }
    sqlx::query(
        "update devart_private.charge_keys set created_at = now() - case key
            when 'old' then interval '31 days 1 second' else interval '30 days 23 hours' end",
    )
    .execute(&db.owner)
    .await?;
    db.maintain().await?;
    let kept: Vec<String> = sqlx::query_scalar("select key from devart_private.charge_keys")
        .fetch_all(&db.owner)
        .await?;
    assert_eq!(kept, ["young"]);
    let young = json!({"estimate_usd": 1, "idempotency_key": "young"});
    assert_eq!(
        hold_of(&reserve_with(&db.owner, id, young).await?),
        holds[1]
    );
    Ok(())
}
