//! The router: endpoints, documents, and what is wrapped around them.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::error::ApiError;
use crate::http::{client_address, observe, security_headers, timeout};
use crate::openapi::{ApiDocument, DOCS_PATH, DOCUMENT_PATH};
use crate::routes;
use crate::state::AppState;

/// Everything this process serves.
pub fn router(state: AppState, cors_origins: &[String]) -> Router {
    let (endpoints, document) = endpoints().split_for_parts();
    let router = endpoints
        .merge(SwaggerUi::new(DOCS_PATH).url(DOCUMENT_PATH, document))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(state.clone(), timeout::limit_time))
        .layer(from_fn_with_state(
            state.clone(),
            client_address::limit_addresses,
        ));
    let router = match cors(cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(from_fn(security_headers::add))
        .layer(from_fn(observe::observe))
        .with_state(state)
}

fn endpoints() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .merge(routes::health::router())
        .merge(routes::tasks::router())
        .merge(routes::claims::router())
        .merge(routes::agents::router())
        .merge(routes::services::router())
        .merge(routes::holds::router())
        .merge(routes::prices::router())
        .merge(routes::budgets::router())
        .merge(routes::settings::router())
        .merge(routes::stops::router())
        .merge(routes::approvals::router())
        .merge(routes::me::router())
        .merge(routes::auth::router())
        .merge(routes::webhooks::router())
        .merge(routes::broker::router())
}

async fn no_such_path() -> ApiError {
    ApiError::no_such_path()
}

async fn method_not_allowed() -> ApiError {
    let detail = "this path does not take that method; see /api/docs";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins = match origins {
        [] => return None,
        [any] if any == "*" => AllowOrigin::any(),
        origins => AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| origin.parse::<HeaderValue>().ok()),
        ),
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-agent-key"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("idempotency-key"),
            // Sent by supabase-js.
            HeaderName::from_static("apikey"),
            HeaderName::from_static("x-client-info"),
        ])
        .expose_headers([HeaderName::from_static("x-request-id")]);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> serde_json::Value {
        let document = endpoints().into_openapi();
        serde_json::to_value(&document).expect("serializable")
    }

    #[test]
    fn the_document_describes_every_endpoint_of_this_version() {
        let document = document();
        for (path, methods) in [
            ("/healthz", "get"),
            ("/readyz", "get"),
            ("/metrics", "get"),
            ("/api/tasks", "get post"),
            ("/api/tasks/{id}", "get put delete"),
            ("/api/tasks/{id}/events", "get"),
            ("/api/tasks/{id}/cancel", "post"),
            ("/api/tasks/{id}/retry", "post"),
            ("/api/tasks/claim", "post"),
            ("/api/tasks/{id}/start", "post"),
            ("/api/tasks/{id}/status", "put"),
            ("/api/tasks/{id}/report-failure", "post"),
            ("/api/tasks/{id}/extend-lease", "post"),
            ("/api/tasks/{id}/release", "post"),
            ("/api/agents/register", "post"),
            ("/api/agents", "get"),
            ("/api/agents/heartbeat", "put"),
            ("/api/agents/{id}/activation", "put"),
            ("/api/agents/{id}/keys", "post"),
            ("/api/agents/{id}/keys/{key_id}", "delete"),
            ("/api/agents/token", "post"),
            ("/api/services", "get post"),
            ("/api/services/status", "get"),
            ("/api/services/{id}", "put"),
            ("/api/services/{id}/charges", "post"),
            ("/api/services/{id}/increase-budget", "post"),
            ("/api/services/{id}/defer", "post"),
            ("/api/services/{id}/prices", "get post"),
            ("/api/services/{id}/prices/{price_id}", "put"),
            ("/api/services/{id}/prices/{price_id}/end", "post"),
            ("/api/tasks/dispatch", "post"),
            ("/api/charges/{hold_id}/dispatched", "post"),
            ("/api/charges/{hold_id}/extend", "post"),
            ("/api/charges/{hold_id}/settle", "post"),
            ("/api/charges/{charge_id}/correct", "post"),
            ("/api/charges/{hold_id}/release", "post"),
            ("/api/budgets", "get post"),
            ("/api/budgets/{id}", "put delete"),
            ("/api/settings", "get"),
            ("/api/settings/{key}", "get put"),
            ("/api/stop", "get post"),
            ("/api/stop/release", "post"),
            ("/api/agents/{id}/pause", "post"),
            ("/api/agents/{id}/resume", "post"),
            ("/api/services/{id}/pause", "post"),
            ("/api/services/{id}/resume", "post"),
            ("/api/workflow-runs/{id}/pause", "post"),
            ("/api/workflow-runs/{id}/resume", "post"),
            ("/api/tasks/{id}/pause", "post"),
            ("/api/tasks/{id}/resume", "post"),
            ("/api/approvals", "get"),
            ("/api/approvals/{id}/decision", "post"),
            ("/api/me", "get"),
            ("/auth/v1/token", "post"),
            ("/api/webhooks/github", "post"),
        ] {
            for method in methods.split(' ') {
                assert!(
                    document["paths"][path][method].is_object(),
                    "{method} {path}"
                );
            }
        }
    }

    #[test]
    fn every_referenced_schema_is_defined() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }

    #[test]
    fn cors_is_off_unless_configured() {
        assert!(cors(&[]).is_none());
        assert!(cors(&["https://console.example.org".to_owned()]).is_some());
    }
}
