//! Who gets in: passwords, tokens and keys.

use anyhow::{Context, Result};
use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::caller::{JWT_SECRET, seconds_from_now, sign};
use crate::support::queue::{create, status};
use crate::support::wait::eventually;
use crate::support::{Database, sqlstate};

const PASSWORD: &str = "correct horse battery staple";

async fn account(db: &Database, email: &str) -> Result<Uuid> {
    let hash = Argon2::default().hash_password(PASSWORD.as_bytes());
    let hash = hash
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .to_string();
    Ok(
        sqlx::query_scalar("select devart_private.bootstrap_admin($1, $2)")
            .bind(email)
            .bind(hash)
            .fetch_one(&db.owner)
            .await?,
    )
}

#[tokio::test]
async fn a_password_opens_a_session_and_a_wrong_one_does_not_tell_why() -> Result<()> {
    let db = Database::create().await?;
    let id = account(&db, "ada@example.org").await?;
    let api = Api::start(&db).await?;
    let login = async |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        api.anonymous
            .post("/auth/v1/token?grant_type=password", body)
            .await
    };
    let session = login("Ada@example.org", PASSWORD).await?.expect(200);
    assert_eq!(
        (&session["token_type"], &session["expires_in"]),
        (&json!("bearer"), &json!(3600))
    );
    let token = session["access_token"].as_str().context("a token")?;
    let me = api
        .anonymous
        .with_token(token)
        .get("/api/me")
        .await?
        .expect(200);
    assert_eq!((&me["id"], &me["role"]), (&json!(id), &json!("admin")));

    let wrong = login("ada@example.org", "wrong").await?;
    let unknown = login("nobody@example.org", PASSWORD).await?;
    assert_eq!(wrong.problem(400), "invalid_credentials");
    assert_eq!(wrong.body, unknown.body);
    Ok(())
}

#[tokio::test]
async fn a_token_with_a_wrong_claim_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let id = account(&db, "ada@example.org").await?;
    let good = json!({
        "sub": id, "role": "authenticated", "aud": "authenticated", "iss": "devart",
        "exp": seconds_from_now(60),
    });
    let status_of = async |claims: &Value| -> Result<u16> {
        let client = api.anonymous.with_token(&sign(claims, JWT_SECRET));
        Ok(client.get("/api/me").await?.status)
    };
    assert_eq!(status_of(&good).await?, 200);
    for (claim, value) in [
        ("exp", json!(seconds_from_now(-60))),
        ("exp", Value::Null),
        ("aud", json!("another")),
        ("iss", json!("another")),
        ("role", json!("service_role")),
        ("role", json!("devart_owner")),
        ("sub", json!("nobody")),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        assert_eq!(status_of(&claims).await?, 401, "{claims}");
    }
    Ok(())
}

#[tokio::test]
async fn a_demotion_is_immediate() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let client = api.client(db.person("supervisor").await?);
    client
        .post("/api/tasks", json!({"title": "t"}))
        .await?
        .expect(201);
    sqlx::query("update devart.user_roles set role = 'viewer'")
        .execute(&db.owner)
        .await?;
    assert_eq!(
        client
            .post("/api/tasks", json!({"title": "t"}))
            .await?
            .problem(403),
        "forbidden"
    );
    Ok(())
}

#[tokio::test]
async fn an_agent_has_at_most_two_live_keys_and_an_expired_one_is_dead() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let keys = format!("/api/agents/{}/keys", db.agent(&[]).await?.id);
    let past = json!({"expires_at": "2000-01-01T00:00:00Z"});
    let expired = supervisor.post(&keys, past).await?.expect(201);
    let with_expired = api
        .anonymous
        .with_key(expired["api_key"].as_str().context("a key")?);
    with_expired
        .post("/api/tasks/claim", json!({}))
        .await?
        .problem(401);

    supervisor.post(&keys, json!({})).await?.expect(201);
    assert_eq!(
        supervisor.post(&keys, json!({})).await?.problem(409),
        "wrong_state"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_revoked_while_its_claim_waits_gets_nothing() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let client = api.agent(&agent);
    let waiting = tokio::spawn(async move {
        client
            .post("/api/tasks/claim", json!({"wait_seconds": 30}))
            .await
    });
    eventually("the claim waits", async || {
        (api.metric("devart_waiting_claims").await.ok()? >= 1.0).then_some(())
    })
    .await;
    sqlx::query("select devart.revoke_agent_key($1, $2)")
        .bind(agent.id)
        .bind(&agent.key_id)
        .execute(&db.owner)
        .await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    waiting.await??.problem(401);
    assert_eq!(status(&db.owner, task_id).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn the_login_of_the_api_cannot_take_a_higher_role() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session_as(db.person("admin").await?).await?;
    for role in ["service_role", "devart_owner", "devart"] {
        let taken = sqlx::query("select set_config('role', $1, false)")
            .bind(role)
            .execute(&mut session)
            .await;
        assert_eq!(sqlstate(&taken), "42501", "{role}");
    }
    Ok(())
}
