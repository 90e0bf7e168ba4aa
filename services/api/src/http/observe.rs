//! One log line, one counter and one duration for every request.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_MAX_LEN: usize = 100;

/// Middleware: gives the request an id, and tells log and metrics how it went.
pub async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = known_method(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", request_id = %id, method, route);
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    span.in_scope(|| record(method, &route, response.status(), started.elapsed()));
    response
}

fn record(method: &'static str, route: &str, status: StatusCode, took: Duration) {
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status.as_u16().to_string()),
    ];
    metrics::counter!("devart_http_requests_total", &labels).increment(1);
    metrics::histogram!("devart_http_request_duration_seconds", &labels[..2]).record(took);
    let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
    if is_routine(method, status) {
        tracing::debug!(status, ms, "{method} {route} answered {status}");
    } else {
        tracing::info!(status, ms, "{method} {route} answered {status}");
    }
}

/// Successful reads (probes and scrapes among them) and empty claims would drown what matters.
fn is_routine(method: &str, status: u16) -> bool {
    status == 204 || (status < 400 && matches!(method, "GET" | "HEAD" | "OPTIONS"))
}

/// A caller may send any token as a method; a label must not take any value.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// The caller's own id, so that logs on both sides can be joined, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=REQUEST_ID_MAX_LEN).contains(&id.len()))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_request_id_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1"));
        assert_eq!(request_id(&headers), "abc-1");
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }

    #[test]
    fn failures_and_changes_are_not_routine() {
        assert!(is_routine("GET", 200));
        assert!(is_routine("POST", 204));
        assert!(!is_routine("POST", 201));
        assert!(!is_routine("GET", 403));
    }
}
