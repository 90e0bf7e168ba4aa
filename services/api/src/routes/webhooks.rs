//! Deliveries from outside.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode};
use devart_core::signature::Verifier;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::PgPool;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::data;
use crate::error::{ApiError, ApiResult};
use crate::http::body::{self, Bounds};
use crate::http::client_address::ClientAddress;
use crate::model::delivery::DeliveryOutcome;
use crate::openapi::Problems;
use crate::state::AppState;

const SIGNATURE: &str = "x-hub-signature-256";
const EVENT: &str = "x-github-event";
const DELIVERY: &str = "x-github-delivery";

/// GitHub sends no more than 25 MiB.
const BOUNDS: Bounds = Bounds {
    read: 25 * 1024 * 1024,
    ..Bounds::USUAL
};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(github))
}

/// Receive a GitHub delivery
///
/// Signed with the webhook's secret (HMAC SHA-256 over the raw body). Opened, reopened and updated
/// pull requests become CRITICAL "Code Review" tasks; the same delivery twice makes one task. What
/// no task is made of may be as large as GitHub sends it, 25 MiB; the rest has at most 1 MiB.
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
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> ApiResult<(StatusCode, Json<DeliveryOutcome>)> {
    let (parts, body) = request.into_parts();
    let raw = signed(&state, from, &parts.headers, body).await?;
    body::require_json(&parts.headers)?;
    let event = required(&parts.headers, EVENT)?;
    let delivery_id = required(&parts.headers, DELIVERY)?;
    let outcome = receive(&state.pools.agents, delivery_id, event, raw).await?;
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

/// Reads the body; none when it is larger than what a task is made of. Before anything is parsed:
/// an unsigned body is not worth a look.
async fn signed(
    state: &AppState,
    from: ClientAddress,
    headers: &HeaderMap,
    body: Body,
) -> ApiResult<Option<Vec<u8>>> {
    let mut verifier = verifier(&state.github_secrets, headers)?;
    let show = |part: &[u8]| verifier.update(part);
    let raw = state.limits.bodies.read(from, body, BOUNDS, show).await?;
    match verifier.verifies() {
        true => Ok(raw),
        false => Err(wrong_signature()),
    }
}

async fn receive(
    pool: &PgPool,
    delivery_id: &str,
    event: &str,
    raw: Option<Vec<u8>>,
) -> ApiResult<DeliveryOutcome> {
    let take = async |payload: &Value| {
        let received = data::webhooks::receive_github(pool, delivery_id, event, payload);
        received.await.map_err(ApiError::from)
    };
    let refused = match raw.as_deref().map(parse) {
        Some(Ok(payload)) => match take(&payload).await {
            Err(error) if is_refusal(&error) => error,
            received => return received,
        },
        Some(Err(error)) => error,
        None => body::too_large(BOUNDS),
    };
    // A large push, say, or one with a NUL in a message: right if no task is made of the event
    // whatever it contains.
    match take(&json!({})).await {
        Err(error) if is_refusal(&error) => Err(refused),
        received => received,
    }
}

/// Whether it is about the content of the delivery.
fn is_refusal(error: &ApiError) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&error.status())
}

/// What checks the signature while the body comes in.
fn verifier(secrets: &[SecretString], headers: &HeaderMap) -> ApiResult<Verifier> {
    if secrets.is_empty() {
        let detail = "GITHUB_WEBHOOK_SECRET is not configured, so no delivery can be trusted";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "webhook_not_configured", detail));
    }
    let signature = header(headers, SIGNATURE)
        .ok_or_else(|| ApiError::unauthenticated("X-Hub-Signature-256 is missing"))?;
    let secrets = secrets.iter().map(|secret| secret.expose_secret());
    Verifier::new(secrets, signature).ok_or_else(wrong_signature)
}

fn wrong_signature() -> ApiError {
    ApiError::unauthenticated("X-Hub-Signature-256 does not sign this body")
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
    use devart_core::signature;

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
        let refused = match verifier(&secrets, &headers) {
            Err(error) => error,
            Ok(mut verifier) => {
                verifier.update(BODY);
                if verifier.verifies() {
                    return None;
                }
                wrong_signature()
            }
        };
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
