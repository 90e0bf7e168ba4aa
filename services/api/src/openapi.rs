//! The OpenAPI document: collected from the handlers themselves, so that it cannot drift.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use crate::error::PROBLEM_JSON;

/// Where the document is served.
pub const DOCUMENT_PATH: &str = "/api/openapi.json";
/// Where it can be read and tried.
pub const DOCS_PATH: &str = "/api/docs";

/// What is said of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "devart",
        description = "A control plane for autonomous agents. Errors are RFC 9457 problem \
                       documents with a stable `code`. Changes accept an `Idempotency-Key` \
                       header: a repeated request gets the first one's answer. Lists take \
                       `limit` and `cursor`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&SecuritySchemes),
    components(schemas(Problem)),
    security(("bearer" = []), ("agent_key" = [])),
    tags(
        (name = "tasks", description = "Tasks as people see and manage them"),
        (name = "agent work", description = "What an agent calls while it works"),
        (name = "agents", description = "Agents and their keys"),
        (name = "services", description = "Services that cost money"),
        (name = "approvals", description = "What waits for a person"),
        (name = "stops", description = "Stop and pause"),
        (name = "settings", description = "Settings that operators may change while devart runs"),
        (name = "sessions", description = "Logging in"),
        (name = "webhooks", description = "Deliveries from outside"),
        (name = "health", description = "For supervisors and monitors"),
    ),
)]
pub struct ApiDocument;

/// A refused or failed request (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    #[schema(example = "about:blank")]
    pub r#type: String,
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    #[schema(example = 422)]
    pub status: u16,
    /// Stable: made for programs.
    #[schema(example = "invalid_argument")]
    pub code: String,
    /// Made for people.
    #[schema(example = "title must be 1 to 500 characters long")]
    pub detail: String,
    /// What is wrong in the request, where one thing is.
    #[schema(example = "title")]
    pub field: Option<String>,
}

/// The error answers that any endpoint may give.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            ("400", "Malformed request"),
            ("401", "Not authenticated"),
            ("403", "Not allowed"),
            ("404", "No such thing, or not for the caller"),
            ("405", "The path does not take this method"),
            ("408", "The request took too long"),
            ("409", "Not in the state, lease or version it takes"),
            ("413", "The body is too large"),
            ("415", "The body is not declared as JSON"),
            ("422", "A field has a value that it cannot have"),
            ("429", "Too many requests"),
            ("500", "Failed for a reason that is not the caller's"),
            (
                "503",
                "Cannot be answered just now, by the database or for too many connections",
            ),
        ]
        .into_iter()
        .map(|(status, description)| (status.to_owned(), RefOr::T(problem(description))))
        .collect()
    }
}

fn problem(description: &str) -> Response {
    let schema = RefOr::Ref(Ref::from_schema_name(Problem::name()));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_JSON, content)
        .build()
}

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKey::Header(ApiKeyValue::new("X-Agent-Key"));
        components.add_security_scheme("agent_key", SecurityScheme::ApiKey(key));
    }
}
