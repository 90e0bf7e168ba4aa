//! Requests to the API.

use std::time::Duration;

use anyhow::{Context, Result};
use devart_kit::http_client;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::process_log;

/// Longer than the longest long poll.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client with one identity.
#[derive(Clone)]
pub struct Http {
    base: String,
    client: Client,
    credential: Option<(&'static str, String)>,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body, when it is JSON; else null.
    pub body: Value,
    /// Of who answered.
    port: u16,
}

impl Http {
    /// Nobody in particular.
    pub fn new(base: String) -> Self {
        let client = http_client::local()
            .timeout(TIMEOUT)
            .build()
            .expect("a client without special wishes");
        Self {
            base,
            client,
            credential: None,
        }
    }

    /// The same client for somebody with a JWT.
    pub fn with_token(&self, token: &str) -> Self {
        let credential = Some(("authorization", format!("Bearer {token}")));
        Self {
            credential,
            ..self.clone()
        }
    }

    /// The same client for an agent with its key.
    pub fn with_key(&self, key: &str) -> Self {
        let credential = Some(("x-agent-key", key.to_owned()));
        Self {
            credential,
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Answer> {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    /// Any method with or without a body.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer> {
        let request = self.request(method.parse().context("a method")?, path);
        send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// A request to complete and [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.credential {
            Some((header, value)) => request.header(*header, value),
            None => request,
        }
    }
}

/// Sends a request and reads the answer to its end.
pub async fn send(request: RequestBuilder) -> Result<Answer> {
    let response = request.send().await.context("no answer from the API")?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let port = response.url().port().unwrap_or_default();
    let text = response.text().await.context("the answer broke off")?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answer {
        status,
        headers,
        text,
        body,
        port,
    })
}

impl Answer {
    /// The answer's text; and, where the fault is not the caller's, what the server wrote of it.
    pub fn said(&self) -> String {
        match self.status {
            500.. => format!(
                "{}\nits log ends with\n{}",
                self.text,
                process_log::tail(self.port)
            ),
            _ => self.text.clone(),
        }
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.said());
        self.body
    }

    /// The stable code of a refusal that must have this status and be a problem document.
    #[track_caller]
    pub fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.said());
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        assert_eq!(self.body["status"], status, "{}", self.text);
        self.body["code"].as_str().expect("a problem has a code")
    }

    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
