//! RabbitMQ's questions to the API, as its plugin asks them: whom to let in, and to what.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::http::{Answer, send};
use crate::support::own_logins::SECRET;
use crate::support::{Agent, Database};

const ALLOW: (u16, &str) = (200, "allow");
const DENY: (u16, &str) = (200, "deny");

async fn api(db: &Database, more: &[(&str, &str)]) -> Result<Api> {
    let variables = [&[("API_BROKER_SECRET", SECRET)][..], more].concat();
    Api::start_with(&db.authenticator_url(), &variables).await
}

async fn post(api: &Api, path: &str, form: &str) -> Result<Answer> {
    let request = api.anonymous.request(Method::POST, path);
    let form_type = "application/x-www-form-urlencoded";
    send(
        request
            .header("content-type", form_type)
            .body(form.to_owned()),
    )
    .await
}

/// Asks as the broker, and gives status and word.
async fn ask(api: &Api, question: &str, form: &str) -> Result<(u16, String)> {
    let path = format!("/rabbitmq/{SECRET}/{question}");
    let answer = post(api, &path, form).await?;
    Ok((answer.status, answer.text))
}

fn is(answer: &(u16, String), expected: (u16, &str)) -> bool {
    (answer.0, answer.1.as_str()) == expected
}

fn login(user: &str, password: &str) -> String {
    format!("username={user}&password={password}&vhost=%2F")
}

#[tokio::test]
async fn a_key_lets_its_own_agent_in_for_as_long_as_both_count() -> Result<()> {
    let db = Database::create().await?;
    let api = api(&db, &[]).await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let Agent { id, key, key_id } = &agent;
    let id_text = id.to_string();
    let form = login(&id_text, key);
    assert!(is(&ask(&api, "user", &form).await?, ALLOW));
    for refused in [
        login(&id_text, &other.key),
        login(&other.id.to_string(), key),
        login(&id_text.to_uppercase(), key),
        login(&Uuid::now_v7().to_string(), key),
        login(&id_text, ""),
        login(&id_text, "dva_typo"),
        login("", key),
        format!("username={id_text}"),
    ] {
        assert!(is(&ask(&api, "user", &refused).await?, DENY), "{refused}");
    }
    let virtual_host = format!("username={id_text}&vhost=%2F&ip=127.0.0.1&tags=");
    assert!(is(&ask(&api, "vhost", &virtual_host).await?, ALLOW));

    set_activation(&db, *id, false).await?;
    assert!(is(&ask(&api, "user", &form).await?, DENY));
    assert!(is(&ask(&api, "vhost", &virtual_host).await?, DENY));
    set_activation(&db, *id, true).await?;
    assert!(is(&ask(&api, "user", &form).await?, ALLOW));

    sqlx::query("select devart.revoke_agent_key($1, $2)")
        .bind(id)
        .bind(key_id)
        .execute(&db.owner)
        .await?;
    assert!(is(&ask(&api, "user", &form).await?, DENY));
    assert!(is(&ask(&api, "vhost", &virtual_host).await?, DENY));
    Ok(())
}

async fn set_activation(db: &Database, agent_id: Uuid, active: bool) -> Result<()> {
    sqlx::query("select devart.set_agent_activation($1, $2)")
        .bind(agent_id)
        .bind(active)
        .execute(&db.owner)
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_may_read_the_queues_that_its_heartbeats_name_and_nothing_else() -> Result<()> {
    let db = Database::create().await?;
    let api = api(&db, &[]).await?;
    let agent = db.agent(&["a", "sälber machen"]).await?;
    db.agent(&["b"]).await?;
    let client = api.agent(&agent);
    let heartbeat = client.put("/api/agents/heartbeat", json!({})).await?;
    let queues = heartbeat.expect(200)["queues"].clone();
    let queues: Vec<String> = serde_json::from_value(queues)?;
    assert_eq!(queues.len(), 3, "{queues:?}");
    let form = |host: &str, resource: &str, name: &str, permission: &str| {
        format!(
            "username={}&vhost={host}&resource={resource}&name={name}&permission={permission}\
             &tags=&client_id=x",
            agent.id
        )
    };
    for queue in &queues {
        let read = form("%2F", "queue", queue, "read");
        assert!(is(&ask(&api, "resource", &read).await?, ALLOW), "{queue}");
        for refused in [
            form("%2F", "queue", queue, "write"),
            form("%2F", "queue", queue, "configure"),
            form("%2F", "exchange", queue, "read"),
            form("other", "queue", queue, "read"),
        ] {
            assert!(
                is(&ask(&api, "resource", &refused).await?, DENY),
                "{refused}"
            );
        }
    }
    for queue in [
        "tasks.todo.b",
        "tasks.dead",
        "tasks.retry.1",
        "todo.a",
        "",
        "%25",
        "%00",
    ] {
        let read = form("%2F", "queue", queue, "read");
        assert!(is(&ask(&api, "resource", &read).await?, DENY), "{queue}");
    }
    let topic = form("%2F", "topic", "devart.tasks", "read");
    assert!(is(&ask(&api, "topic", &topic).await?, DENY));
    let elsewhere = format!("username={}&vhost=other", agent.id);
    assert!(is(&ask(&api, "vhost", &elsewhere).await?, DENY));
    Ok(())
}

#[tokio::test]
async fn for_whoever_is_not_the_broker_nothing_is_there() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let form = login(&agent.id.to_string(), &agent.key);
    let closed = Api::start(&db).await?;
    for secret in [SECRET, "", "%20", "x"] {
        let answer = post(&closed, &format!("/rabbitmq/{secret}/user"), &form).await?;
        assert_eq!(answer.problem(404), "not_found");
    }
    let api = api(&db, &[]).await?;
    for question in ["user", "vhost", "resource", "topic"] {
        for secret in ["wrong", "%FF", &SECRET.to_uppercase(), &SECRET[1..]] {
            let answer = post(&api, &format!("/rabbitmq/{secret}/{question}"), &form).await?;
            assert_eq!(answer.problem(404), "not_found", "{secret}");
        }
        let path = format!("/rabbitmq/{SECRET}/{question}");
        assert_eq!(api.anonymous.get(&path).await?.problem(404), "not_found");
        assert_eq!(post(&api, &path, "").await?.status, 400);
    }
    let document = api.anonymous.get("/api/openapi.json").await?.text;
    assert!(!document.contains("/rabbitmq/"));
    Ok(())
}

#[tokio::test]
async fn one_agent_that_logs_in_again_and_again_is_slowed_down_and_no_other() -> Result<()> {
    let db = Database::create().await?;
    let api = api(&db, &[("API_BROKER_LOGIN_LIMIT_PER_AGENT", "2")]).await?;
    let (busy, quiet) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let form = login(&busy.id.to_string(), &busy.key);
    let mut last = ask(&api, "user", &form).await?;
    for _ in 0..3 {
        last = ask(&api, "user", &form).await?;
    }
    assert_eq!(last.0, 429);
    let form = login(&quiet.id.to_string(), &quiet.key);
    assert!(is(&ask(&api, "user", &form).await?, ALLOW));
    Ok(())
}

#[tokio::test]
async fn wrong_passwords_keep_no_agent_from_logging_in() -> Result<()> {
    let db = Database::create().await?;
    let api = api(&db, &[("API_BROKER_LOGIN_LIMIT_PER_AGENT", "2")]).await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let id = agent.id.to_string();
    for wrong in [&other.key, &other.key, &other.key, "wrong", "dva_typo", ""] {
        ask(&api, "user", &login(&id, wrong)).await?;
    }
    let form = login(&id, &agent.key);
    assert!(is(&ask(&api, "user", &form).await?, ALLOW));
    Ok(())
}
