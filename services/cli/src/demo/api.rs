//! The few calls of the HTTP API that the demo makes.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use devart_core::signature;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use super::delivery::Delivery;

/// The API as an admin.
pub struct Api {
    client: Client,
    /// Where it answers.
    pub url: String,
    token: String,
}

impl Api {
    /// Speaks to the API at `url` with an admin's token.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let client = Client::builder()
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .context("making an HTTP client")?;
        Ok(Self {
            client,
            url: url.to_owned(),
            token: token.to_owned(),
        })
    }

    /// GET as admin.
    pub async fn get(&self, path: &str) -> Result<Value> {
        answer(self.client.get(self.at(path)).bearer_auth(&self.token)).await
    }

    /// POST as admin.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        answer(
            self.client
                .post(self.at(path))
                .bearer_auth(&self.token)
                .json(body),
        )
        .await
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
        answer(request).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

async fn answer(request: RequestBuilder) -> Result<Value> {
    let response = request.send().await.context("the API did not answer")?;
    let (status, url) = (response.status(), response.url().path().to_owned());
    let body = response.text().await.context("the answer broke off")?;
    if !status.is_success() {
        bail!("{url} answered {status}: {body}");
    }
    serde_json::from_str(&body)
        .with_context(|| format!("{url} answered something else than JSON: {body}"))
}
