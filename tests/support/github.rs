//! GitHub, as far as it delivers webhooks.

use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::api::Api;
use super::http::{Answer, send};

/// A delivery as GitHub documents it.
pub const PAYLOAD: &str = include_str!("../../services/cli/src/demo/pull_request.opened.json");

/// The header that vouches for a delivery.
pub fn sign(secret: &str, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    Ok(format!(
        "sha256={}",
        hex::encode(mac.finalize().into_bytes())
    ))
}

/// Delivers a pull request's event under this id.
pub async fn deliver(api: &Api, id: &str, body: &str, signature: Option<String>) -> Result<Answer> {
    let request = api
        .anonymous
        .request(reqwest::Method::POST, "/api/webhooks/github")
        .header("content-type", "application/json")
        .header("x-github-event", "pull_request")
        .header("x-github-delivery", id)
        .body(body.to_owned());
    send(match signature {
        Some(signature) => request.header("x-hub-signature-256", signature),
        None => request,
    })
    .await
}
