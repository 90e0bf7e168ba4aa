//! Odd bodies and texts over HTTP: refused by the name of what is wrong, or made storable, and never
//! a 500 or Postgres' own words.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Api, WEBHOOK_SECRET};
use crate::support::github::{PAYLOAD, deliver, sign};
use crate::support::http::{Answer, Http, send};
use crate::support::queue::{claim, create, task};
use crate::support::{Database, run_sql};

/// Sends a body as it is written here.
async fn raw(http: &Http, method: Method, path: &str, body: String) -> Result<Answer> {
    let request = http.request(method, path);
    let request = request.header("content-type", "application/json");
    send(request.body(body)).await
}

/// JSON as text, and a part of the reason for which it is refused.
fn poison() -> Vec<(String, &'static str)> {
    vec![
        ("[".repeat(65) + &"]".repeat(65), "nested deeper"),
        ("[".repeat(126) + &"]".repeat(126), "nested deeper"),
        ("[".repeat(200) + &"]".repeat(200), "nested deeper"),
        ("[".repeat(100_000) + &"]".repeat(100_000), "nested deeper"),
        (
            r#"{"$serde_json::private::Number": "5"}"#.to_owned(),
            "$serde_json",
        ),
        (
            r#"{"a": {"\u0024serde_json::private::Number": 5}}"#.to_owned(),
            "$serde_json",
        ),
        ("1e131071".to_owned(), "400 characters"),
        ("7".repeat(6_000), "400 characters"),
        (
            format!("[{}]", vec!["1e131071"; 9_000].join(",")),
            "400 characters",
        ),
        (
            format!("[{}]", vec!["1e300"; 9_000].join(",")),
            "longer than",
        ),
        (r#""a\u0000""#.to_owned(), "U+0000"),
        (r#"{"a\u0000": 1}"#.to_owned(), "U+0000"),
        (r#"["\ud800"]"#.to_owned(), "surrogate"),
    ]
}

#[tokio::test]
async fn json_that_nobody_could_read_is_a_422_that_names_it_and_why() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let (people, work) = (api.client(db.person("admin").await?), api.agent(&agent));
    let edited = create(&db.owner, json!({"title": "edited"})).await?;
    let id = "00000000-0000-7000-8000-000000000000";
    let doors = [
        (
            &people,
            Method::POST,
            "/api/tasks".to_owned(),
            r#"{"title": "t", "payload": {json}}"#.to_owned(),
            "payload",
        ),
        (
            &people,
            Method::PUT,
            format!("/api/tasks/{edited}"),
            r#"{"payload": {json}}"#.to_owned(),
            "payload",
        ),
        (
            &people,
            Method::PUT,
            "/api/settings/max_rescues".to_owned(),
            r#"{"value": {json}}"#.to_owned(),
            "value",
        ),
        (
            &work,
            Method::PUT,
            format!("/api/tasks/{id}/status"),
            format!(r#"{{"status": "DONE", "lease_token": "{id}", "result": {{json}}}}"#),
            "result",
        ),
        (
            &work,
            Method::PUT,
            "/api/agents/heartbeat".to_owned(),
            r#"{"detail": {"load": {json}}}"#.to_owned(),
            "detail",
        ),
        (
            &work,
            Method::POST,
            "/api/tasks/dispatch".to_owned(),
            format!(r#"{{"service_id": "{id}", "usage": {{"a": {{json}}}}}}"#),
            "usage",
        ),
        (
            &work,
            Method::POST,
            format!("/api/charges/{id}/settle"),
            r#"{"usage": {"a": {json}}}"#.to_owned(),
            "usage",
        ),
    ];
    for (http, method, path, body, field) in doors {
        for (json, reason) in poison() {
            let body = body.replace("{json}", &json);
            let answer = raw(http, method.clone(), &path, body).await?;
            let beginning: String = json.chars().take(60).collect();
            assert_eq!(
                answer.problem(422),
                "invalid_argument",
                "{path} {beginning}"
            );
            assert_eq!(answer.body["field"], field, "{path} {beginning}");
            let detail = answer.body["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(reason), "{path} {beginning}: {detail}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_just_readable_comes_back_as_it_was_given_also_when_it_is_repeated() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let people = api.client(db.person("supervisor").await?);
    let work = api.agent(&db.agent(&[]).await?);
    for (key, payload) in [
        ("deep", "[".repeat(64) + &"]".repeat(64)),
        ("digits", "7".repeat(400)),
        (
            "exact",
            r#"{"a": 0.10, "b": 12345678901234567890123}"#.to_owned(),
        ),
        ("text", r#""$serde_json::private::Number""#.to_owned()),
    ] {
        let body = format!(r#"{{"title": "{key}", "payload": {payload}}}"#);
        let create = || {
            let request = people.request(Method::POST, "/api/tasks");
            let request = request.header("content-type", "application/json");
            send(request.header("idempotency-key", key).body(body.clone()))
        };
        let created = create().await?;
        let created = (created.status, created.body["payload"].clone());
        assert_eq!(created.1, serde_json::from_str::<Value>(&payload)?, "{key}");
        let again = create().await?;
        assert_eq!(
            (again.status, again.body["payload"].clone()),
            created,
            "{key}"
        );
        assert_eq!(created.0, 201);
        let claimed = work.post("/api/tasks/claim", json!({})).await?.expect(200);
        assert_eq!(claimed["items"][0]["payload"], created.1, "{key}");
    }
    people.get("/api/tasks").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn the_error_of_a_task_is_kept_whatever_characters_it_has() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let http = api.agent(&agent);
    for (error, kept) in [
        (r#""a\u0000b""#, "a\u{2400}b"),
        (r#""half \ud83d of one""#, "half \u{FFFD} of one"),
        (r#""\udc00\u0000\ud83d\ude00""#, "\u{FFFD}\u{2400}😀"),
    ] {
        let id = create(&db.owner, json!({"title": "t"})).await?;
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        let token = claimed.lease_token;
        let path = format!("/api/tasks/{id}/report-failure");
        let body = format!(r#"{{"lease_token": "{token}", "error": {error}}}"#);
        let answer = raw(&http, Method::POST, &path, body).await?.expect(200);
        assert_eq!(answer["status"], "SCHEDULED", "it is retried");
        let failed = task(&db.owner, id).await?;
        assert_eq!(failed.last_error.as_deref(), Some(kept));

        let id = create(&db.owner, json!({"title": "t"})).await?;
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        let token = claimed.lease_token;
        let path = format!("/api/tasks/{id}/status");
        let body = format!(r#"{{"status": "FAILED", "lease_token": "{token}", "error": {error}}}"#);
        raw(&http, Method::PUT, &path, body).await?.expect(200);
        let failed = task(&db.owner, id).await?;
        assert_eq!(failed.last_error.as_deref(), Some(kept));
    }
    let path = "/api/tasks/00000000-0000-7000-8000-000000000000/report-failure";
    let body = json!({"lease_token": "00000000-0000-7000-8000-000000000000", "error": 5});
    let answer = http.post(path, body).await?;
    answer.problem(422);
    assert_eq!(answer.body["field"], "error");
    Ok(())
}

#[tokio::test]
async fn other_texts_that_cannot_be_stored_are_refused_by_the_reason() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("admin").await?);
    for (path, body) in [
        ("/api/tasks", json!({"title": "a\0"})),
        ("/api/tasks", json!({"title": "a", "description": "\0"})),
        (
            "/api/tasks",
            json!({"title": "a", "required_capabilities": ["\0"]}),
        ),
        ("/api/agents/register", json!({"name": "\0"})),
        ("/api/services", json!({"name": "\0"})),
    ] {
        let answer = http.post(path, body).await?;
        assert_eq!(answer.problem(422), "invalid_argument");
        assert!(answer.text.contains("U+0000"), "{path}: {}", answer.text);
    }
    for path in ["/api/tasks?q=%00", "/api/settings?cursor=%00"] {
        http.get(path).await?.problem(422);
    }
    let half = raw(
        &http,
        Method::POST,
        "/api/tasks",
        r#"{"title": "\ud800"}"#.to_owned(),
    );
    assert!(half.await?.text.contains("hex escape"));
    Ok(())
}

#[tokio::test]
async fn texts_that_no_index_could_hold_are_a_422() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("admin").await?);
    let long = "x".repeat(10_000);
    for (path, body, field) in [
        (
            "/api/tasks",
            json!({"title": "t", "required_capabilities": [long]}),
            "required_capabilities",
        ),
        (
            "/api/agents/register",
            json!({"name": "a", "capabilities": [long]}),
            "capabilities",
        ),
        (
            "/api/services",
            json!({"name": "s", "time_zone": long}),
            "time_zone",
        ),
    ] {
        let answer = http.post(path, body).await?;
        answer.problem(422);
        assert_eq!(answer.body["field"], field, "{}", answer.text);
        assert!(answer.text.len() < 1_000, "{} bytes", answer.text.len());
    }
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let cancel = format!("/api/tasks/{id}/cancel");
    let answer = http
        .post(&cancel, json!({"reason": "x".repeat(10_001)}))
        .await?;
    answer.problem(422);
    assert_eq!(answer.body["field"], "reason");
    Ok(())
}

#[tokio::test]
async fn a_delivery_with_a_long_id_or_head_is_refused_and_others_are_taken() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let long_id = "x".repeat(5_000);
    let signature = || sign(WEBHOOK_SECRET, PAYLOAD).map(Some);
    let answer = deliver(&api, &long_id, PAYLOAD, signature()?).await?;
    assert_eq!(answer.problem(422), "invalid_argument", "{}", answer.text);
    assert_eq!(answer.body["field"], "delivery_id");

    let mut long_head: Value = serde_json::from_str(PAYLOAD)?;
    long_head["pull_request"]["head"]["sha"] = json!("a".repeat(10_000));
    let mut odd_draft: Value = serde_json::from_str(PAYLOAD)?;
    odd_draft["pull_request"]["draft"] = json!("maybe");
    let mut deep_number: Value = serde_json::from_str(PAYLOAD)?;
    let deep: Value = serde_json::from_str(&("[".repeat(100) + &"]".repeat(100)))?;
    deep_number["pull_request"]["additions"] = deep;
    for (id, body, status) in [
        ("long", long_head, 422),
        ("deep", deep_number, 422),
        ("odd", odd_draft, 202),
    ] {
        let body = body.to_string();
        let signature = sign(WEBHOOK_SECRET, &body)?;
        let answer = deliver(&api, id, &body, Some(signature)).await?;
        assert_eq!(answer.status, status, "{id}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn postgres_own_words_reach_nobody() -> Result<()> {
    let db = Database::create().await?;
    run_sql(
        &mut db.session().await?,
        "create function public.talk() returns trigger language plpgsql as $$
         begin raise exception 'own words of postgres' using errcode = new.title::text; end $$;
         create trigger talk before insert on devart.tasks
             for each row execute function public.talk()"
            .to_owned(),
    )
    .await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    for (code, status) in [
        ("22023", 422),
        ("22003", 422),
        ("54000", 422),
        ("54001", 422),
        ("55000", 409),
        ("55P03", 503),
        ("P0002", 404),
        ("XX000", 500),
        ("0A000", 500),
    ] {
        let answer = http.post("/api/tasks", json!({"title": code})).await?;
        assert_eq!(answer.status, status, "{code}: {}", answer.text);
        assert!(
            !answer.text.contains("own words"),
            "{code}: {}",
            answer.text
        );
    }
    Ok(())
}
