//! The few calls of the HTTP API that the demo makes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devart_core::signature;
use devart_kit::http_client;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::delivery::Delivery;

/// The API as somebody.
#[derive(Clone)]
pub struct Api {
    client: Client,
    /// Where it answers.
    pub url: String,
    /// A header that says who calls.
    credential: (&'static str, String),
}

impl Api {
    /// Speaks to the API at `url` with a person's token.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let client = http_client::local()
            .timeout(Duration::from_secs(30))
            .build()
            .context("making an HTTP client")?;
        Ok(Self {
            client,
            url: url.to_owned(),
            credential: bearer(token),
        })
    }

    /// The same API as another person.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            credential: bearer(token),
            ..self.clone()
        }
    }

    /// The same API as an agent.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            credential: ("X-Agent-Key", key.to_owned()),
            ..self.clone()
        }
    }

    /// GET; any refusal is an error.
    pub async fn get(&self, path: &str) -> Result<Value> {
        success(path, self.send(Method::GET, path, None).await?)
    }

    /// POST; any refusal is an error.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        success(path, self.ask(path, body).await?)
    }

    /// PUT; any refusal is an error.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        success(path, self.send(Method::PUT, path, Some(body)).await?)
    }

    /// POST whose refusal is an answer, too. Gives status and body.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let (header, credential) = &self.credential;
        let mut request = self
            .client
            .request(method, self.at(path))
            .header(*header, credential);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// POST as GitHub.
    pub async fn deliver(&self, delivery: &Delivery, secret: &str) -> Result<Value> {
        let request = self
            .client
            .post(self.at("/api/webhooks/github"))
            .header("Content-Type", "application/json")
            .header("User-Agent", "GitHub-Hookshot/devart-demo")
            .header("X-GitHub-Event", "pull_request")
            .header("X-GitHub-Delivery", &delivery.id)
            .header(
                "X-Hub-Signature-256",
                signature::sign(secret, &delivery.body),
            )
            .body(delivery.body.clone());
        success("the webhook", answer(request).await?)
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

/// Status and body; null where there is none.
async fn answer(request: RequestBuilder) -> Result<(u16, Value)> {
    let response = request.send().await.context("the API did not answer")?;
    let status = response.status().as_u16();
    let body = response.text().await.context("the answer broke off")?;
    if body.is_empty() {
        return Ok((status, Value::Null));
    }
    let value = serde_json::from_str(&body);
    let value =
        value.with_context(|| format!("the API answered something else than JSON: {body}"))?;
    Ok((status, value))
}

fn success(path: &str, (status, body): (u16, Value)) -> Result<Value> {
    ensure!(
        (200..300).contains(&status),
        "{path} answered {status}: {body}"
    );
    Ok(body)
}

/// A text in an answer.
pub fn text(value: &Value, field: &str) -> Result<String> {
    let found = value.get(field).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("the answer has no {field}: {value}"))
}
