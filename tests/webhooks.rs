//! GitHub's deliveries: signed, taken once, and made into a review.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::{Api, WEBHOOK_SECRET};
use crate::support::github::{PAYLOAD, deliver, sign};
use crate::support::http::send;
use crate::support::queue::{claim, complete};

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
async fn a_large_delivery_is_taken_where_no_task_is_made_of_it() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let large = |size: usize| json!({"commits": "x".repeat(size)}).to_string();
    let deliver = async |event: &str, id: &str, body: &str, signature: String| {
        let request = api
            .anonymous
            .request(reqwest::Method::POST, "/api/webhooks/github")
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", id)
            .header("x-hub-signature-256", signature)
            .body(body.to_owned());
        send(request).await
    };
    let push = large(2 * 1024 * 1024);
    let signature = sign(WEBHOOK_SECRET, &push)?;
    let answer = deliver("push", "d", &push, signature.clone()).await?;
    assert_eq!(answer.expect(202)["status"], "ignored");
    let again = deliver("push", "d", &push, signature.clone()).await?;
    assert_eq!(again.expect(202)["status"], "duplicate");
    for (id, odd) in [
        ("nul", r#"{"commits": "\u0000"}"#.to_owned()),
        ("surrogate", r#"{"commits": "\ud800"}"#.to_owned()),
        ("deep", format!("{}{}", "[".repeat(200), "]".repeat(200))),
    ] {
        let answer = deliver("push", id, &odd, sign(WEBHOOK_SECRET, &odd)?).await?;
        assert_eq!(answer.expect(202)["status"], "ignored", "{id}");
        let review = deliver("pull_request", "odd", &odd, sign(WEBHOOK_SECRET, &odd)?).await?;
        assert!(
            [400, 422].contains(&review.status),
            "{id}: {}",
            review.status
        );
    }
    let forged = deliver("push", "e", &large(2 * 1024 * 1024 + 1), signature.clone()).await?;
    assert_eq!(forged.problem(401), "unauthenticated");
    let review = deliver("pull_request", "f", &push, signature).await?;
    assert_eq!(review.problem(413), "payload_too_large");
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

/// The payload at another moment of the pull request's life.
fn event(action: &str, head: &str, minute: u32, merged: bool) -> Result<String> {
    let mut payload: Value = serde_json::from_str(PAYLOAD).context("the payload")?;
    payload["action"] = json!(action);
    payload["pull_request"]["head"]["sha"] = json!(head);
    payload["pull_request"]["updated_at"] = json!(format!("2026-01-01T00:{minute:02}:00Z"));
    payload["pull_request"]["merged"] = json!(merged);
    Ok(payload.to_string())
}

/// Delivers it; gives the answer.
async fn tell(api: &Api, id: &str, body: &str) -> Result<Value> {
    let signature = sign(WEBHOOK_SECRET, body)?;
    Ok(deliver(api, id, body, Some(signature)).await?.expect(202))
}

/// Heads under review with their states and reasons, in the order in which they were asked for.
async fn reviews(db: &Database) -> Result<Vec<(String, String, Option<String>)>> {
    Ok(sqlx::query_as(
        "select payload ->> 'head_sha', status::text, last_error from devart.tasks order by id",
    )
    .fetch_all(&db.owner)
    .await?)
}

#[tokio::test]
async fn a_newer_head_cancels_the_review_of_the_older_one() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&["code-review"]).await?;
    tell(&api, "1", &event("opened", "a", 1, false)?).await?;
    let claim = claim(&db.owner, agent.id)
        .await?
        .context("the first review")?;
    assert_eq!(
        tell(&api, "2", &event("synchronize", "b", 2, false)?).await?["status"],
        "accepted"
    );
    let found = reviews(&db).await?;
    let states: Vec<(&str, &str)> = found.iter().map(|it| (&*it.0, &*it.1)).collect();
    assert_eq!(states, [("a", "CANCELLED"), ("b", "TODO")]);
    assert!(
        found[0]
            .2
            .as_ref()
            .is_some_and(|it| it.contains("newer head: b")),
        "{found:?}"
    );
    let late = complete(&db.owner, &claim).await;
    assert_ne!(late.ok().as_deref(), Some("DONE"), "its lease is gone");
    Ok(())
}

#[tokio::test]
async fn reviews_of_what_is_closed_merged_or_a_draft_again_are_cancelled() -> Result<()> {
    for (action, merged, why) in [
        ("closed", false, "closed"),
        ("closed", true, "merged"),
        ("converted_to_draft", false, "draft"),
    ] {
        let db = Database::create().await?;
        let api = Api::start(&db).await?;
        tell(&api, "1", &event("opened", "a", 1, false)?).await?;
        let answer = tell(&api, "2", &event(action, "a", 2, merged)?).await?;
        assert_eq!(answer["status"], "ignored");
        let found = reviews(&db).await?;
        assert_eq!((found.len(), &*found[0].1), (1, "CANCELLED"));
        assert!(
            found[0].2.as_ref().is_some_and(|it| it.contains(why)),
            "{found:?}"
        );
        tell(&api, "3", &event("reopened", "a", 3, false)?).await?;
        assert_eq!(reviews(&db).await?[1].1, "TODO");
    }
    Ok(())
}

#[tokio::test]
async fn events_that_come_after_newer_ones_make_no_task() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    tell(&api, "1", &event("synchronize", "b", 2, false)?).await?;
    let late = tell(&api, "2", &event("opened", "a", 1, false)?).await?;
    assert_eq!(late["status"], "ignored");
    let found = reviews(&db).await?;
    assert_eq!((found.len(), &*found[0].1), (1, "TODO"));
    tell(&api, "3", &event("closed", "b", 4, true)?).await?;
    let late = tell(&api, "4", &event("synchronize", "c", 3, false)?).await?;
    assert_eq!(
        (&late["status"], reviews(&db).await?.len()),
        (&json!("ignored"), 1)
    );
    // Another pull request is another matter.
    let mut other: Value = serde_json::from_str(&event("opened", "a", 1, false)?)?;
    other["pull_request"]["number"] = json!(99);
    assert_eq!(
        tell(&api, "5", &other.to_string()).await?["status"],
        "accepted"
    );
    Ok(())
}

#[tokio::test]
async fn a_review_asked_for_twice_at_one_head_is_cancelled_as_a_whole() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    tell(&api, "1", &event("opened", "a", 1, false)?).await?;
    tell(&api, "2", &event("ready_for_review", "a", 2, false)?).await?;
    tell(&api, "3", &event("closed", "a", 3, true)?).await?;
    let found = reviews(&db).await?;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|it| it.1 == "CANCELLED"), "{found:?}");
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

#[tokio::test]
async fn a_pull_request_is_followed_whatever_names_it() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    // Not to be compressed, and of equal beginnings.
    let text: String = (0..500).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    for (n, (pointer, value)) in [
        ("/repository/id", json!(format!("{text}a"))),
        ("/repository/id", json!(format!("{text}b"))),
        ("/repository/id", json!({"text": text})),
        ("/repository/id", json!(null)),
        ("/pull_request/updated_at", json!("2026-13-39T29:00:00Z")),
        ("/pull_request/updated_at", json!("2026-02-30T00:00:00Z")),
        ("/pull_request/updated_at", json!(text)),
    ]
    .into_iter()
    .enumerate()
    {
        // Long ids are told apart although all else is equal.
        let (number, head) = (if n < 3 { 100 } else { n + 100 }, format!("head{n}"));
        let mut statuses = Vec::new();
        for action in ["opened", "closed"] {
            let mut payload: Value = serde_json::from_str(&event(action, &head, 1, false)?)?;
            payload["pull_request"]["number"] = json!(number);
            *payload.pointer_mut(pointer).context(pointer)? = value.clone();
            let id = format!("{n} {action}");
            let answer = tell(&api, &id, &payload.to_string()).await?;
            statuses.push(answer["status"].clone());
        }
        assert_eq!(statuses, ["accepted", "ignored"], "{pointer}");
        let (_, state, why) = reviews(&db).await?.pop().context("its review")?;
        assert_eq!(state, "CANCELLED", "{pointer}: {why:?}");
    }
    let known: i64 = sqlx::query_scalar("select count(*) from devart_private.pull_requests")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(known, 7, "none is taken for another");
    // A name that makes no task is not looked up in an index of tasks.
    let mut closed: Value = serde_json::from_str(&event("closed", "h", 1, false)?)?;
    closed["repository"]["id"] = json!(null);
    closed["repository"]["full_name"] = json!(text);
    closed["pull_request"]["number"] = json!(text);
    let answer = tell(&api, "long name", &closed.to_string()).await?;
    assert_eq!(answer["status"], "ignored");
    Ok(())
}
