//! RabbitMQ's questions: whom to let in, and to what. Its plugin rabbitmq_auth_backend_http asks
//! by forms and is answered by a word.
//!
//! They are in no document: whoever does not know the secret in their path finds nothing there.

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header;
use axum::routing::{MethodRouter, post};
use devart_kit::auth::{AuthError, PresentedKey};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::data;
use crate::error::{ApiError, ApiResult};
use crate::http::body::{self, Bounds};
use crate::http::url::Key;
use crate::model::broker::{Login, ResourceAccess, VirtualHostAccess, agent_named};
use crate::state::AppState;

type Answer = ([(header::HeaderName, &'static str); 1], &'static str);

pub fn router() -> OpenApiRouter<AppState> {
    let questions = [
        ("/rabbitmq/{secret}/user", post(user)),
        ("/rabbitmq/{secret}/vhost", post(virtual_host)),
        ("/rabbitmq/{secret}/resource", post(resource)),
        ("/rabbitmq/{secret}/topic", post(topic)),
    ];
    let add = |router: OpenApiRouter<AppState>, (path, question): (&str, MethodRouter<_>)| {
        router.route(path, question.fallback(nothing_here))
    };
    questions.into_iter().fold(OpenApiRouter::new(), add)
}

async fn nothing_here() -> ApiError {
    ApiError::no_such_path()
}

/// May this agent log in with this key?
async fn user(
    State(state): State<AppState>,
    FromBroker(login): FromBroker<Login>,
) -> ApiResult<Answer> {
    let (Some(agent_id), Some(key)) = (agent_named(&login.username), login.password) else {
        return Ok(answer(false));
    };
    state.limits.count_broker_login(agent_id, &key)?;
    let _turn = state.broker.turn().await?;
    may_log_in(&state.pools.agents, agent_id, &key)
        .await
        .map(answer)
}

async fn may_log_in(pool: &PgPool, agent_id: Uuid, key: &SecretString) -> ApiResult<bool> {
    let key = match PresentedKey::parse(key.expose_secret()) {
        Ok(key) => key.authenticate(pool).await,
        Err(error) => Err(error),
    };
    match key {
        Ok(owner) if owner == agent_id => Ok(data::broker::may_listen(pool, agent_id).await?),
        Ok(_) | Err(AuthError::Refused(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn virtual_host(
    State(state): State<AppState>,
    FromBroker(access): FromBroker<VirtualHostAccess>,
) -> ApiResult<Answer> {
    let agent_id = agent_named(&access.username);
    let Some(agent_id) = agent_id.filter(|_| state.broker.is_ours(&access.vhost)) else {
        return Ok(answer(false));
    };
    state.limits.count_principal(agent_id)?;
    let _turn = state.broker.turn().await?;
    let may_listen = data::broker::may_listen(&state.pools.agents, agent_id);
    Ok(answer(may_listen.await?))
}

async fn resource(
    State(state): State<AppState>,
    FromBroker(access): FromBroker<ResourceAccess>,
) -> ApiResult<Answer> {
    let is_possible = access.is_taking() && state.broker.is_ours(&access.vhost);
    let Some(agent_id) = agent_named(&access.username).filter(|_| is_possible) else {
        return Ok(answer(false));
    };
    state.limits.count_principal(agent_id)?;
    let _turn = state.broker.turn().await?;
    let may_take = data::broker::may_take_from(&state.pools.agents, agent_id, &access.name);
    Ok(answer(may_take.await?))
}

/// Of exchanges with patterns agents use none.
async fn topic(FromBroker(_): FromBroker<ResourceAccess>) -> Answer {
    answer(false)
}

/// As the plugin reads it; text behind it would be the user's tags.
fn answer(is_allowed: bool) -> Answer {
    let word = if is_allowed { "allow" } else { "deny" };
    ([(header::CONTENT_TYPE, "text/plain")], word)
}

/// A question of somebody who knows the broker's secret. For everybody else nothing is here.
struct FromBroker<T>(T);

impl<T: DeserializeOwned> FromRequest<AppState> for FromBroker<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> ApiResult<Self> {
        let (mut parts, body) = request.into_parts();
        let secret = Key::from_request_parts(&mut parts, state).await.ok();
        if !secret.is_some_and(|Key(secret)| state.broker.opens_with(&secret)) {
            return Err(ApiError::no_such_path());
        }
        let form = body::read(body, Bounds::SIGN_IN).await?;
        // What is wrong with it is not repeated: a password is in it.
        serde_urlencoded::from_bytes(&form)
            .map(Self)
            .map_err(|_| ApiError::malformed("the form lacks what this question is about"))
    }
}
