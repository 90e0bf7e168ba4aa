//! GitHub's deliveries: signed, taken once, and made into a review.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::{Api, WEBHOOK_SECRET};
use crate::support::github::{PAYLOAD, deliver, sign};

#[tokio::test]
async fn a_real_delivery_becomes_one_critical_review() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let signature = sign(WEBHOOK_SECRET, PAYLOAD)?;
    let first = deliver(&api, "d1", PAYLOAD, Some(signature.clone()))
        .await?
        .expect(202);
    let again = deliver(&api, "d1", PAYLOAD, Some(signature.clone()))
        .await?
        .expect(202);
    let replayed = deliver(&api, "d2", PAYLOAD, Some(signature))
        .await?
        .expect(202);
    assert_eq!(
        (&first["status"], &again["status"], &replayed["status"]),
        (&json!("accepted"), &json!("duplicate"), &json!("duplicate"))
    );
    assert_eq!(first["task_id"], replayed["task_id"]);
    let (title, priority, capabilities, payload): (String, String, Vec<String>, Value) =
        sqlx::query_as("select title, priority::text, required_capabilities::text[], payload from devart.tasks")
            .fetch_one(&db.owner)
            .await?;
    assert!(
        title.starts_with("Code Review: Codertocat/Hello-World#"),
        "{title}"
    );
    assert_eq!(
        (priority.as_str(), capabilities),
        ("CRITICAL", vec!["code-review".to_owned()])
    );
    assert_eq!(payload["repository"], "Codertocat/Hello-World");
    Ok(())
}

#[tokio::test]
async fn an_unsigned_or_forged_delivery_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    deliver(&api, "d", PAYLOAD, None).await?.problem(401);
    deliver(&api, "d", PAYLOAD, Some(sign("another secret", PAYLOAD)?))
        .await?
        .problem(401);
    deliver(
        &api,
        "d",
        &PAYLOAD.replace("Hello", "Hullo"),
        Some(sign(WEBHOOK_SECRET, PAYLOAD)?),
    )
    .await?
    .problem(401);
    let tasks: i64 = sqlx::query_scalar("select count(*) from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(tasks, 0);
    Ok(())
}

#[tokio::test]
async fn without_a_secret_no_delivery_is_taken() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start_with(&db.authenticator_url(), &[("GITHUB_WEBHOOK_SECRET", "")]).await?;
    deliver(&api, "d", PAYLOAD, Some(sign("", PAYLOAD)?))
        .await?
        .problem(503);
    Ok(())
}

#[tokio::test]
async fn other_actions_are_taken_and_make_no_task() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let mut payload: Value = serde_json::from_str(PAYLOAD).context("the payload")?;
    payload["action"] = json!("labeled");
    let body = payload.to_string();
    let answer = deliver(&api, "d", &body, Some(sign(WEBHOOK_SECRET, &body)?))
        .await?
        .expect(202);
    assert_eq!(answer["status"], "ignored");
    Ok(())
}

#[tokio::test]
async fn both_secrets_are_accepted_while_they_are_being_changed() -> Result<()> {
    let db = Database::create().await?;
    let secrets = [("GITHUB_WEBHOOK_SECRET", "new secret,old secret")];
    let api = Api::start_with(&db.authenticator_url(), &secrets).await?;
    for (id, secret, status) in [
        ("1", "old secret", "accepted"),
        ("2", "new secret", "duplicate"),
    ] {
        let answer = deliver(&api, id, PAYLOAD, Some(sign(secret, PAYLOAD)?))
            .await?
            .expect(202);
        assert_eq!(answer["status"], status);
    }
    let both = sign("new secret,old secret", PAYLOAD)?;
    deliver(&api, "3", PAYLOAD, Some(both)).await?.problem(401);
    Ok(())
}

#[tokio::test]
async fn a_signed_delivery_that_makes_no_sense_is_refused_and_may_come_again() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    for (body, status) in [
        ("{\"action\": ", 400),
        ("{\"action\": \"opened\"}", 422),
        ("[]", 422),
    ] {
        let answer = deliver(&api, "d", body, Some(sign(WEBHOOK_SECRET, body)?)).await?;
        answer.problem(status);
    }
    let signature = sign(WEBHOOK_SECRET, PAYLOAD)?;
    let answer = deliver(&api, "d", PAYLOAD, Some(signature))
        .await?
        .expect(202);
    assert_eq!(
        answer["status"], "accepted",
        "the refused ones did not burn the id"
    );
    Ok(())
}

#[tokio::test]
async fn deliveries_at_the_same_time_make_one_task() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let signature = sign(WEBHOOK_SECRET, PAYLOAD)?;
    let deliveries = (0..10).map(|n| {
        let (id, signature) = (format!("d{}", n / 2), signature.clone());
        let api = &api;
        async move { deliver(api, &id, PAYLOAD, Some(signature)).await }
    });
    for answer in futures::future::try_join_all(deliveries).await? {
        answer.expect(202);
    }
    let tasks: i64 = sqlx::query_scalar("select count(*) from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(tasks, 1);
    Ok(())
}
