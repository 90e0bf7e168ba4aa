//! Creating tasks by API and by SQL, by the same person and over as many connections.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::memory::{BenchApi, JWT_SECRET};
use crate::cluster::BenchCluster;
use crate::compare::{Compared, turns};
use crate::http_load::Load;
use crate::pgbench::{Length, Run};
use crate::report::Report;

const CONNECTIONS: u32 = 64;
const PAIRS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(2);
const BODY: &str = r#"{"title":"bench"}"#;

/// Neither the pool nor the limits on one caller shall decide.
const SETTINGS: [(&str, &str); 4] = [
    ("API_REQUESTS_AT_ONCE_PER_PERSON", "64"),
    ("DATABASE_MAX_CONNECTIONS", "64"),
    ("API_RATE_LIMIT_PER_PRINCIPAL", "1000000"),
    ("API_RATE_LIMIT_PER_ADDRESS", "1000000"),
];

pub async fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.fill(0)?;
    // 64 connections by SQL and as many of the API.
    cluster.sql("alter role authenticator connection limit -1")?;
    let claims = supervisor(cluster)?;
    let api = BenchApi::start_with(cluster, &SETTINGS).await?;
    let load = load(&api, &claims)?;
    let by_sql = Run {
        script: include_str!("../../sql/create.sql"),
        clients: CONNECTIONS,
        length: Length::Seconds(seconds),
        agent: "nobody",
    };
    let url = cluster.url_of_caller("authenticated", &claims.to_string());
    load.measure(WARM_UP)?;
    let mut rates = [Vec::new(), Vec::new()];
    for turn in turns(PAIRS) {
        rates[turn].push(if turn == 0 {
            by_sql.measure_at(&url)?.tps
        } else {
            load.measure(Duration::from_secs(seconds.into()))?
        });
    }
    let compared = Compared::of(&rates[0], &rates[1]);
    report.note(
        "`create_task` as a person, 64 connections",
        format!("{:.0} tasks/s", compared.bare),
    );
    report.judge(
        "the same by API",
        format!(
            "{:.0} tasks/s, {}",
            compared.devart,
            compared.text_against("SQL")
        ),
        "0.6 of SQL",
        compared.ratio() >= 0.6,
    );
    Ok(())
}

/// The claims of somebody who may create tasks.
pub fn supervisor(cluster: &BenchCluster) -> Result<Value> {
    let id = cluster.sql("select devart_private.put_user('bench@b.c', null, 'supervisor')")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(json!({
        "sub": id, "role": "authenticated", "aud": "authenticated", "iss": "devart",
        "email": "bench@b.c", "exp": now + 24 * 60 * 60,
    }))
}

/// A token with these claims.
pub fn token_of(claims: &Value) -> Result<String> {
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)?;
    Ok(token)
}

fn load(api: &BenchApi, claims: &Value) -> Result<Load> {
    let token = token_of(claims)?;
    let address = api.url.strip_prefix("http://").context("an http:// URL")?;
    let length = BODY.len();
    Ok(Load {
        server: address.parse()?,
        request: format!(
            "POST /api/tasks HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{BODY}"
        ),
        expected: "HTTP/1.1 201",
        connections: CONNECTIONS,
    })
}
