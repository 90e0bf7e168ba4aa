//! Reading paths and query strings so that a refusal names the field.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::{ApiError, ApiResult};

/// The `{id}` of a path.
pub struct Id(pub Uuid);

/// The `{hold_id}` of a path.
pub struct HoldId(pub Uuid);

/// The `{charge_id}` of a path.
pub struct ChargeId(pub Uuid);

/// The `{price_id}` of a path.
pub struct PriceId(pub Uuid);

/// The `{key}` or `{key_id}` of a path.
pub struct Key(pub String);

/// A query string.
pub struct UrlQuery<T>(pub T);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let text = segment(parts, state, |name| name == "id").await?;
        parse_id(&text).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for HoldId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        named_id(parts, state, "hold_id").await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ChargeId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        named_id(parts, state, "charge_id").await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PriceId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        named_id(parts, state, "price_id").await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        segment(parts, state, |name| name != "id").await.map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for UrlQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

async fn named_id<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &'static str,
) -> ApiResult<Uuid> {
    let text = segment(parts, state, |other| other == name).await?;
    let malformed = || ApiError::malformed(format!("{name} must be a UUID")).with_field(name);
    Uuid::parse_str(&text).map_err(|_| malformed())
}

async fn segment<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    wanted: impl Fn(&str) -> bool,
) -> ApiResult<String> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::malformed("the path is not valid UTF-8"))?;
    params
        .iter()
        .find(|(name, _)| wanted(name))
        .map(|(_, value)| value.to_owned())
        .ok_or_else(ApiError::internal)
}

fn parse_id(text: &str) -> ApiResult<Uuid> {
    Uuid::parse_str(text).map_err(|_| ApiError::malformed("id must be a UUID").with_field("id"))
}

fn parse_query<T: DeserializeOwned>(query: &str) -> ApiResult<T> {
    let pairs = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let detail = error.inner().to_string();
        match field_of(&error.path().to_string(), &detail) {
            Some(field) => ApiError::malformed(format!("{field}: {detail}")).with_field(field),
            None => ApiError::malformed(detail),
        }
    })
}

/// Errors about the query as a whole carry the name in their message: "missing field `grant_type`".
fn field_of(path: &str, detail: &str) -> Option<String> {
    let quoted = detail.split('`').nth(1);
    match (path, quoted) {
        (".", Some(name)) => Some(name.to_owned()),
        (".", None) => None,
        (path, _) => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::{TaskFilter, TaskStatus};

    fn refused_field(query: &str) -> Option<String> {
        let document = parse_query::<TaskFilter>(query).err()?.document();
        Some(document["field"].as_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn filters_are_read() {
        let filter: TaskFilter =
            parse_query("status=TODO&flagged=true&limit=5&q=a%20b").expect("valid");
        assert_eq!(filter.status, Some(TaskStatus::Todo));
        assert_eq!(filter.q.as_deref(), Some("a b"));
        assert_eq!(filter.limit, Some(5));
    }

    #[test]
    fn wrong_filters_are_named() {
        assert_eq!(refused_field("status=OPEN").as_deref(), Some("status"));
        assert_eq!(refused_field("limit=many").as_deref(), Some("limit"));
        assert_eq!(refused_field("agent_id=7").as_deref(), Some("agent_id"));
        assert_eq!(refused_field("colour=red").as_deref(), Some("colour"));
    }

    #[test]
    fn an_id_is_a_uuid() {
        assert!(parse_id("0198c3f0-0000-7000-8000-000000000000").is_ok());
        let document = parse_id("42").expect_err("refused").document();
        assert_eq!(document["field"], "id");
        assert_eq!(document["status"], 400);
    }
}
