//! Agents and their keys.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use devart_kit::auth::AGENT_TOKEN_LIFETIME;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::data::page::{Limit, Page};
use crate::error::{ApiError, ApiResult};
use crate::http::body::NoBody;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::{Id, Key, UrlQuery};
use crate::model::agent::{
    Activation, Agent, AgentFilter, AgentToken, Heartbeat, HeartbeatAnswer, IssuedKey, NewAgent,
    NewKey, RegisteredAgent,
};
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(list))
        .routes(routes!(heartbeat))
        .routes(routes!(activate))
        .routes(routes!(create_key))
        .routes(routes!(delete_key))
        .routes(routes!(token))
}

/// Register an agent
///
/// Answers its key, which is shown this once.
#[utoipa::path(
    post, path = "/api/agents/register", tag = "agents", request_body = NewAgent,
    responses((status = 201, body = RegisteredAgent), Problems),
)]
async fn register(change: Change<NewAgent>) -> ApiResult<Response> {
    change
        .run(async |db, agent| {
            let registered = data::agents::register(db, &agent).await?;
            Ok(Reply::created(&registered)?.showing_once("api_key"))
        })
        .await
}

/// List agents
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/agents", tag = "agents", params(AgentFilter),
    responses((status = 200, body = Page<Agent>), Problems),
)]
async fn list(
    session: Session,
    UrlQuery(filter): UrlQuery<AgentFilter>,
) -> ApiResult<Json<Page<Agent>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::agents::list(&mut *session.begin().await?, &filter, limit).await?;
    Ok(Json(page))
}

/// Send a heartbeat
///
/// Extends the leases of all tasks the calling agent has, and says whether it should stop.
#[utoipa::path(
    put, path = "/api/agents/heartbeat", tag = "agent work", request_body = Heartbeat,
    responses((status = 200, body = HeartbeatAnswer), Problems),
)]
async fn heartbeat(change: Change<Heartbeat>) -> ApiResult<Response> {
    change
        .call(async |db, body| Reply::ok(&data::claims::heartbeat(db, &body).await?))
        .await
}

/// Activate or deactivate an agent
///
/// Deactivation gives its tasks back to the queue and refuses its claims.
#[utoipa::path(
    put, path = "/api/agents/{id}/activation", tag = "agents", params(("id" = Uuid, Path)),
    request_body = Activation, responses((status = 200, body = Agent), Problems),
)]
async fn activate(Id(id): Id, change: Change<Activation>) -> ApiResult<Response> {
    change
        .run(async |db, body| Reply::ok(&data::agents::set_activation(db, id, body.active).await?))
        .await
}

/// Make another key
///
/// For rotation: the agent's other key works until it is revoked. Shown this once.
#[utoipa::path(
    post, path = "/api/agents/{id}/keys", tag = "agents", params(("id" = Uuid, Path)),
    request_body = NewKey, responses((status = 201, body = IssuedKey), Problems),
)]
async fn create_key(Id(id): Id, change: Change<NewKey>) -> ApiResult<Response> {
    change
        .run(async |db, body| {
            let key = data::agents::rotate_key(db, id, body.expires_at).await?;
            Ok(Reply::created(&key)?.showing_once("api_key"))
        })
        .await
}

/// Revoke a key
///
/// At once.
#[utoipa::path(
    delete, path = "/api/agents/{id}/keys/{key_id}", tag = "agents",
    params(("id" = Uuid, Path), ("key_id" = String, Path)),
    responses((status = 204), Problems),
)]
async fn delete_key(Id(id): Id, Key(key_id): Key, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| {
            data::agents::revoke_key(db, id, &key_id).await?;
            Ok(Reply::no_content())
        })
        .await
}

/// Exchange a key for a token
///
/// The token lasts 15 minutes, and no longer than the key: a revoked key ends it at once. It cannot
/// be exchanged again.
#[utoipa::path(
    post, path = "/api/agents/token", tag = "agent work", security(("agent_key" = [])),
    responses((status = 200, body = AgentToken), Problems),
)]
async fn token(State(state): State<AppState>, session: Session) -> ApiResult<Json<AgentToken>> {
    let refused = || ApiError::forbidden("send X-Agent-Key: only a key can be exchanged");
    let key = session.key().ok_or_else(refused)?;
    Ok(Json(AgentToken {
        access_token: state.tokens.issue_for_agent(session.identity.id(), key)?,
        token_type: "bearer",
        expires_in: AGENT_TOKEN_LIFETIME.as_secs() as i64,
    }))
}
