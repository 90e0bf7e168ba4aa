//! Clients that keep the API waiting harm themselves only.

use std::fs;

use anyhow::{Context, Result};
use devart_kit::descriptors;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::http::send;
use crate::support::wait::eventually;

/// A head without its end.
const HALF: &[u8] = b"GET /api/tasks HTTP/1.1\r\nhost: devart\r\nx-half: ";

async fn connect(api: &Api) -> Result<TcpStream> {
    let address = api.url.strip_prefix("http://").context("an http:// URL")?;
    Ok(TcpStream::connect(address).await?)
}

async fn half_sent(api: &Api) -> Result<TcpStream> {
    let mut connection = connect(api).await?;
    connection.write_all(HALF).await?;
    Ok(connection)
}

/// A whole answer, over a connection of its own.
async fn ask(api: &Api, path: &str) -> Result<String> {
    let mut connection = connect(api).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: devart\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn health_is_answered_beside_more_half_sent_heads_than_there_are_places() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start_with(
        &db.authenticator_url(),
        &[("API_HEAD_TIMEOUT_MS", "600000")],
    )
    .await?;
    descriptors::raise_limit();
    let half_sent = try_join_all((0..1_100).map(|_| half_sent(&api))).await?;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = ask(&api, path).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let refused = ask(&api, "/api/me").await?;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("too_many_connections"), "{refused}");
    drop(half_sent);
    eventually("the places are free again", async || {
        let answer = ask(&api, "/api/me").await.ok()?;
        answer.starts_with("HTTP/1.1 401").then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn who_does_not_finish_a_head_is_cut_and_who_waits_for_a_task_is_not() -> Result<()> {
    let db = Database::create().await?;
    let settings = [
        ("API_HEAD_TIMEOUT_MS", "300"),
        ("API_IDLE_TIMEOUT_MS", "400"),
    ];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    let agent = api.agent(&db.agent(&[]).await?);
    let claim = serde_json::json!({"wait_seconds": 2});
    let waiting = tokio::spawn(async move { agent.post("/api/tasks/claim", claim).await });
    let mut never_asked = half_sent(&api).await?;
    let mut asked_before = connect(&api).await?;
    asked_before
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: devart\r\n\r\n")
        .await?;
    asked_before.write_all(HALF).await?;
    let mut rest = Vec::new();
    for connection in [&mut never_asked, &mut asked_before] {
        // Ends when the API closes it.
        let _ = connection.read_to_end(&mut rest).await;
    }
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!(rest.matches("HTTP/1.1").count(), 1, "{rest}");
    assert_eq!(waiting.await??.status, 204);
    Ok(())
}

#[tokio::test]
async fn who_is_answered_before_the_body_was_read_hears_that_the_connection_closes() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let unsigned =
        "POST /api/webhooks/github HTTP/1.1\r\nhost: devart\r\ncontent-length: 5\r\n\r\n";
    let mut connection = connect(&api).await?;
    connection.write_all(unsigned.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let says_close = answer.to_lowercase().contains("connection: close");
    assert!(says_close, "{answer}");
    Ok(())
}

/// The most memory that a process has had at once, in MiB.
fn peak_memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kibibytes.context("no VmHWM")?.parse::<u64>()? / 1024)
}

/// Sends a delivery that nobody has signed, all but its last byte, and waits for what comes.
async fn send_unsigned(api: &Api, body: &[u8]) -> Result<()> {
    let mut connection = connect(api).await?;
    let head = format!(
        "POST /api/webhooks/github HTTP/1.1\r\nhost: devart\r\nx-forwarded-for: 192.0.2.1\r\n\
         x-hub-signature-256: sha256={}\r\ncontent-length: {}\r\n\r\n",
        "0".repeat(64),
        body.len() + 1
    );
    let mut answer = Vec::new();
    // A connection on which we write and nobody reads is reset, perhaps before the answer is read.
    if connection.write_all(head.as_bytes()).await.is_ok() {
        let _ = connection.write_all(body).await;
        let _ = connection.read_to_end(&mut answer).await;
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.get(9..12).unwrap_or("408");
    assert!(["408", "429", "503"].contains(&status), "{answer}");
    Ok(())
}

#[tokio::test]
async fn bodies_of_nobody_in_particular_hold_little_and_keep_others_from_nothing() -> Result<()> {
    const UNSIGNED: usize = 500;
    let db = Database::create().await?;
    let settings = [("API_TRUST_FORWARDED_FOR", "true")];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    descriptors::raise_limit();
    let body = vec![b' '; 1024 * 1024 - 1];
    let unsigned = try_join_all((0..UNSIGNED).map(|_| send_unsigned(&api, &body)));
    let path = "/auth/v1/token?grant_type=password";
    let log_in = async |password: &str| {
        let credentials = serde_json::json!({"email": "a@example.org", "password": password});
        api.anonymous.post(path, credentials).await
    };
    let (unsigned, login) = futures::future::join(unsigned, log_in("wrong")).await;
    unsigned?;
    assert_eq!(login?.status, 400);
    let peak = peak_memory(api.process_id())?;
    assert!(peak < 250, "{peak} MiB");
    assert_eq!(log_in(&"x".repeat(17 * 1024)).await?.status, 413);
    Ok(())
}

#[tokio::test]
async fn viewers_who_do_not_read_are_cut_and_hold_little() -> Result<()> {
    const VIEWERS: usize = 12;
    const REQUESTS: usize = 40;
    let db = Database::create().await?;
    let settings = [("API_WRITE_TIMEOUT_MS", "1000")];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    create_large(&db, 120).await?;
    let mut connections = Vec::new();
    for _ in 0..VIEWERS {
        let token = db.person("viewer").await?.token().context("a token")?;
        let request = format!(
            "GET /api/tasks?limit=200 HTTP/1.1\r\nhost: devart\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let mut connection = connect(&api).await?;
        connection
            .write_all(request.repeat(REQUESTS).as_bytes())
            .await?;
        connections.push(connection);
    }
    eventually("all of them are cut", async || {
        let cut = api
            .metric("devart_http_slow_readers_cut_total")
            .await
            .ok()?;
        (cut >= VIEWERS as f64).then_some(())
    })
    .await;
    let peak = peak_memory(api.process_id())?;
    assert!(peak < 200, "{peak} MiB");
    Ok(())
}

/// Tasks with payloads of a quarter of a megabyte, nearly.
async fn create_large(db: &Database, count: i32) -> Result<()> {
    sqlx::query(
        "insert into devart.tasks (title, payload)
         select 'large ' || n, jsonb_build_object('text', repeat('x', 250000))
         from generate_series(1, $1) n",
    )
    .bind(count)
    .execute(&db.owner)
    .await?;
    Ok(())
}

#[tokio::test]
async fn pages_of_large_tasks_are_short_and_give_each_once() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let viewer = api.client(db.person("viewer").await?);
    create_large(&db, 20).await?;
    let (mut titles, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/tasks?limit=200{cursor}");
        let answer = viewer.get(&path).await?;
        assert!(answer.text.len() < 1_500_000, "{}", answer.text.len());
        let page = answer.expect(200);
        let items = page["items"].as_array().context("items")?;
        titles.extend(items.iter().map(|task| task["title"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (1..=20).rev().map(|n| format!("\"large {n}\"")).collect();
    assert_eq!(titles, expected);
    Ok(())
}

#[tokio::test]
async fn every_answer_forbids_frames_and_caches() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    for path in [
        "/healthz",
        "/api/me",
        "/nowhere",
        "/api/docs/",
        "/api/openapi.json",
    ] {
        let answer = api.anonymous.get(path).await?;
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("content-security-policy", "frame-ancestors 'none'"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_status_that_a_request_can_be_refused_with_is_documented() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let settings = [("API_REQUEST_TIMEOUT_MS", "300")];
    let hasty = Api::start_with(&db.authenticator_url(), &settings).await?;
    let document = api.anonymous.get("/api/openapi.json").await?.expect(200);
    let documented = &document["paths"]["/api/tasks"]["post"]["responses"];
    let supervisor = api.client(db.person("supervisor").await?);
    let post = || supervisor.request(reqwest::Method::POST, "/api/tasks");
    let large = "x".repeat(2 * 1024 * 1024);
    let mut late = connect(&hasty).await?;
    let token = db.person("supervisor").await?.token().context("a token")?;
    late.write_all(
        format!(
            "POST /api/tasks HTTP/1.1\r\nhost: devart\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{{"
        )
        .as_bytes(),
    )
    .await?;
    let mut answer = String::new();
    late.read_to_string(&mut answer).await?;
    let statuses = [
        supervisor.call("PATCH", "/api/tasks", None).await?.status,
        answer.get(9..12).context("a status")?.parse()?,
        send(
            post()
                .header("content-type", "application/json")
                .body(large),
        )
        .await?
        .status,
        send(post().body("{}")).await?.status,
    ];
    assert_eq!(statuses, [405, 408, 413, 415]);
    for status in statuses {
        assert!(documented[status.to_string()].is_object(), "{status}");
    }
    Ok(())
}
