//! Reading JSON bodies so that a refusal names the field.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::body_room::Place;
use crate::error::{ApiError, ApiResult};
use crate::model::Validate;

const MEBIBYTE: usize = 1024 * 1024;
/// How much more than what is kept is read, and thrown away, before the connection is closed: a
/// client that is still writing when the connection is closed on it never sees the answer.
const DISCARDED_BYTES: usize = 4 * MEBIBYTE;

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of what is larger, nothing is kept.
    pub kept: usize,
    /// What is larger still is not read to its end.
    pub read: usize,
}

impl Bounds {
    /// No endpoint takes more; a task's payload is smaller still.
    pub const USUAL: Self = Self {
        kept: MEBIBYTE,
        read: MEBIBYTE + DISCARDED_BYTES,
    };
    /// Names and passwords.
    pub const SIGN_IN: Self = Self {
        kept: 16 * 1024,
        read: 16 * 1024 + DISCARDED_BYTES,
    };
}

/// The body of an endpoint that takes none: nothing, or an empty object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoBody {}

impl Validate for NoBody {}

/// A JSON body, parsed and validated.
pub struct JsonBody<T>(pub T);

impl<S, T> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body, Bounds::USUAL).await?;
        parse(&parts.headers, &bytes).map(Self)
    }
}

/// Reads the whole body.
///
/// # Errors
/// 413 when it is larger than it may be, 400 when it breaks off.
pub async fn read(body: Body, bounds: Bounds) -> ApiResult<Vec<u8>> {
    let read = read_parts(body, bounds, None, |_| ()).await?;
    read.ok_or_else(|| too_large(bounds))
}

/// Reads the whole body into its `place`, if it needs one, showing each part. None when it is larger
/// than what is kept.
///
/// # Errors
/// 413 when it is larger than what is read, 400 when it breaks off, and what its place says.
pub async fn read_parts(
    body: Body,
    bounds: Bounds,
    mut place: Option<&mut Place>,
    mut show: impl FnMut(&[u8]),
) -> ApiResult<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut received = 0;
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| ApiError::malformed("the body broke off"))?;
        received += part.len();
        show(&part);
        if received > bounds.read {
            return Err(too_large(bounds));
        }
        if received > bounds.kept {
            bytes = Vec::new();
            continue;
        }
        if let Some(place) = &mut place {
            place.grow_to(received).await?;
        }
        bytes.extend_from_slice(&part);
    }
    Ok((received <= bounds.kept).then_some(bytes))
}

/// Parses a body that was read. An empty body counts as an empty object, so that bodies whose
/// members are all optional may be left out.
///
/// # Errors
/// 415 when it is not declared as JSON, 400 when it is not JSON, 422 when it has the wrong shape.
pub fn parse<T: DeserializeOwned + Validate>(headers: &HeaderMap, bytes: &[u8]) -> ApiResult<T> {
    let bytes = match bytes {
        b"" => b"{}",
        bytes => {
            require_json(headers)?;
            bytes
        }
    };
    let body: T = deserialize(bytes)?;
    body.validate()?;
    Ok(body)
}

/// # Errors
/// 415 unless the body is declared as JSON.
pub fn require_json(headers: &HeaderMap) -> ApiResult<()> {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"));
    if declared {
        return Ok(());
    }
    let detail = "the body must be JSON, with Content-Type: application/json";
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        detail,
    ))
}

fn deserialize<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        shape_error(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn shape_error(path: &str, error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return not_json(error);
    }
    let message = error.to_string();
    let detail = without_position(&message);
    match field_of(path, detail) {
        Some(field) => ApiError::invalid(field.clone(), format!("{field}: {detail}")),
        None => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_argument",
            detail.to_owned(),
        ),
    }
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::malformed(format!("the body is not JSON: {error}"))
}

/// A missing field is reported for its object; its own name stands in the message.
fn field_of(path: &str, detail: &str) -> Option<String> {
    let missing = detail
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    match (path, missing) {
        (".", None) => None,
        (".", Some(missing)) => Some(missing.to_owned()),
        (path, Some(missing)) => Some(format!("{path}.{missing}")),
        (path, None) => Some(path.to_owned()),
    }
}

/// Cuts serde_json's " at line 1 column 20": it helps with malformed JSON, not with a wrong value.
fn without_position(message: &str) -> &str {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text)
}

/// 413.
pub fn too_large(bounds: Bounds) -> ApiError {
    let detail = match bounds.kept {
        MEBIBYTE => "the body must be at most 1 MiB".to_owned(),
        kept => format!("the body must be at most {} KiB", kept / 1024),
    };
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::service::NewCharge;
    use crate::model::task::NewTask;

    fn refusal<T: DeserializeOwned + Validate>(body: &str) -> Value {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, json);
        match parse::<T>(&headers, body.as_bytes()) {
            Ok(_) => json!({"status": 200}),
            Err(error) => error.document(),
        }
    }

    #[test]
    fn malformed_json_is_a_400() {
        assert_eq!(refusal::<NewTask>(r#"{"title": "#)["status"], 400);
        assert_eq!(refusal::<NewTask>(r#"{"title": "a"} x"#)["status"], 400);
    }

    #[test]
    fn wrong_members_are_a_422_naming_the_field() {
        for (body, field) in [
            (r#"{"title": "a", "priority": "URGENT"}"#, "priority"),
            (r#"{"title": "a", "titel": "b"}"#, "titel"),
            (r#"{"title": 5}"#, "title"),
            (r#"{}"#, "title"),
            (
                r#"{"title": "a", "parent_task_id": "123"}"#,
                "parent_task_id",
            ),
            (r#"{"title": "a", "depends_on": ["x"]}"#, "depends_on[0]"),
            (r#"{"title": "a", "run_at": "tomorrow"}"#, "run_at"),
            (
                r#"{"title": "a", "estimated_cost_usd": "much"}"#,
                "estimated_cost_usd",
            ),
        ] {
            let document = refusal::<NewTask>(body);
            assert_eq!(document["status"], 422, "{body}");
            assert_eq!(document["field"], field, "{body}: {document}");
        }
    }

    #[test]
    fn money_in_a_body_is_exact() {
        let body = br#"{"amount_usd": 0.123456}"#;
        let charge: NewCharge = deserialize(body).expect("a charge");
        assert_eq!(charge.amount_usd.0.to_string(), "0.123456");
        let tiny = format!(r#"{{"amount_usd": 0.{}1}}"#, "0".repeat(40));
        let charge: NewCharge = deserialize(tiny.as_bytes()).expect("a charge");
        assert!(!charge.amount_usd.0.is_zero(), "what is not free is not 0");
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused() {
        let read = async |size: usize, bounds| read(Body::from(vec![b' '; size]), bounds).await;
        for bounds in [Bounds::USUAL, Bounds::SIGN_IN] {
            let kept = read(bounds.kept, bounds).await.map(|bytes| bytes.len());
            assert_eq!(kept, Ok(bounds.kept));
            for size in [bounds.kept + 1, bounds.read + 1] {
                let refused = read(size, bounds).await.expect_err("too large");
                assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
            }
        }
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert!(parse::<NoBody>(&HeaderMap::new(), b"").is_ok());
        assert_eq!(refusal::<NoBody>(r#"{"a": 1}"#)["field"], "a");
    }

    #[test]
    fn a_body_must_be_declared_as_json() {
        let error = parse::<NoBody>(&HeaderMap::new(), b"{}").expect_err("refused");
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
