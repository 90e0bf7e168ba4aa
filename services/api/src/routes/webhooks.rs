//! Deliveries from outside.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use devart_core::signature;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::data;
use crate::error::{ApiError, ApiResult};
use crate::http::body;
use crate::model::delivery::DeliveryOutcome;
use crate::openapi::Problems;
use crate::state::AppState;

const SIGNATURE: &str = "x-hub-signature-256";
const EVENT: &str = "x-github-event";
const DELIVERY: &str = "x-github-delivery";

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(github))
}

/// Receive a GitHub delivery
///
/// Signed with the webhook's secret (HMAC SHA-256 over the raw body). Opened, reopened and updated
/// pull requests become CRITICAL "Code Review" tasks; the same delivery twice makes one task.
#[utoipa::path(
    post, path = "/api/webhooks/github", tag = "webhooks", security(()),
    params(
        ("X-Hub-Signature-256" = String, Header),
        ("X-GitHub-Event" = String, Header),
        ("X-GitHub-Delivery" = String, Header),
    ),
    request_body = Object,
    responses((status = 202, body = DeliveryOutcome), Problems),
)]
async fn github(
    State(state): State<AppState>,
    request: Request,
) -> ApiResult<(StatusCode, Json<DeliveryOutcome>)> {
    let (parts, raw) = request.into_parts();
    let raw = body::read(raw).await?;
    check_signature(&state.github_secrets, &parts.headers, &raw)?;
    body::require_json(&parts.headers)?;
    let event = required(&parts.headers, EVENT)?;
    let delivery_id = required(&parts.headers, DELIVERY)?;
    let payload = parse(&raw)?;
    let outcome = data::webhooks::receive_github(&state.pool, delivery_id, event, &payload).await?;
    let (status, task_id) = (&outcome.status, outcome.task_id);
    tracing::info!(
        delivery_id,
        event,
        status,
        ?task_id,
        "GitHub delivery {delivery_id} {status}"
    );
    Ok((StatusCode::ACCEPTED, Json(outcome)))
}

/// Before anything is parsed: an unsigned body is not worth a look.
fn check_signature(secrets: &[SecretString], headers: &HeaderMap, raw: &[u8]) -> ApiResult<()> {
    if secrets.is_empty() {
        let detail = "GITHUB_WEBHOOK_SECRET is not configured, so no delivery can be trusted";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "webhook_not_configured", detail));
    }
    let signature = header(headers, SIGNATURE)
        .ok_or_else(|| ApiError::unauthenticated("X-Hub-Signature-256 is missing"))?;
    if secrets
        .iter()
        .any(|secret| signature::verify(secret.expose_secret(), raw, signature))
    {
        Ok(())
    } else {
        Err(ApiError::unauthenticated(
            "X-Hub-Signature-256 does not sign this body",
        ))
    }
}

fn parse(raw: &[u8]) -> ApiResult<Value> {
    serde_json::from_slice(raw)
        .map_err(|error| ApiError::malformed(format!("the body is not JSON: {error}")))
}

fn required<'a>(headers: &'a HeaderMap, name: &str) -> ApiResult<&'a str> {
    header(headers, name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ApiError::malformed(format!("{name} is missing")).with_field(name))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const BODY: &[u8] = br#"{"action":"opened"}"#;

    fn status_with(secrets: &[&str], signed_with: Option<&str>) -> Option<u16> {
        let secrets: Vec<SecretString> = secrets.iter().copied().map(SecretString::from).collect();
        let mut headers = HeaderMap::new();
        if let Some(secret) = signed_with {
            let signature = signature::sign(secret, BODY);
            headers.insert(
                SIGNATURE,
                HeaderValue::from_str(&signature).expect("a header value"),
            );
        }
        let refused = check_signature(&secrets, &headers, BODY).err()?;
        Some(refused.status().as_u16())
    }

    #[test]
    fn without_a_secret_nothing_is_accepted() {
        assert_eq!(status_with(&[], Some("")), Some(503));
    }

    #[test]
    fn a_missing_or_wrong_signature_is_refused() {
        assert_eq!(status_with(&["s"], None), Some(401));
        assert_eq!(status_with(&["s"], Some("other")), Some(401));
    }

    #[test]
    fn both_secrets_are_accepted_during_rotation() {
        assert_eq!(status_with(&["new", "old"], Some("old")), None);
        assert_eq!(status_with(&["new", "old"], Some("new")), None);
    }
}
