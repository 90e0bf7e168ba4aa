//! An authenticated request: who asks, taken from its headers, and their way to the database.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use devart_kit::auth::{Identity, PresentedKey};
use devart_kit::db::{self, Caller, Transaction};
use sqlx::PgPool;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;
use crate::turns::Turn;

const AGENT_KEY: &str = "x-agent-key";

/// An authenticated request's way to the database.
pub struct Session {
    pub identity: Identity,
    pub caller: Caller,
    pub pool: PgPool,
    /// Present when the agent authenticated with its key rather than a token.
    key: Option<PresentedKey>,
    /// One of the requests that a person or an agent may have under way.
    turn: Option<Turn>,
}

impl Session {
    /// Opens a transaction as the caller.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn begin(&self) -> ApiResult<Transaction> {
        Ok(db::begin_as(&self.pool, &self.caller).await?)
    }

    /// The same over a connection of another pool.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn begin_in(&self, pool: &PgPool) -> ApiResult<Transaction> {
        Ok(db::begin_as(pool, &self.caller).await?)
    }

    /// Checks a key again: a request that has waited must notice that it was revoked.
    ///
    /// # Errors
    /// 401 when the key is no longer valid.
    pub async fn recheck(&self) -> ApiResult<()> {
        if let Some(key) = &self.key {
            key.authenticate(&self.pool).await?;
        }
        Ok(())
    }

    /// From now on the request waits, and no longer counts among those under way.
    pub fn leave_turn(&mut self) {
        self.turn = None;
    }

    /// The key that the caller showed itself; none for a token, also for one made from a key.
    pub fn key(&self) -> Option<&PresentedKey> {
        self.key.as_ref()
    }
}

impl FromRequestParts<AppState> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        let mut session = match parts.headers.get(AGENT_KEY) {
            Some(key) => by_key(key.to_str().unwrap_or_default(), state).await?,
            None => by_token(bearer(&parts.headers)?, state)?,
        };
        state.limits.count_principal(session.identity.id())?;
        let turns = match session.identity {
            Identity::Person { .. } => &state.limits.people,
            Identity::Agent { .. } => &state.limits.agents,
        };
        session.turn = Some(turns.take(session.identity.id()).await?);
        Ok(session)
    }
}

async fn by_key(key: &str, state: &AppState) -> ApiResult<Session> {
    let key = PresentedKey::parse(key)?;
    let id = key.authenticate(&state.pools.agents).await?;
    Ok(Session {
        identity: Identity::Agent { id },
        caller: state.tokens.agent_caller(id, &key),
        pool: state.pools.agents.clone(),
        key: Some(key),
        turn: None,
    })
}

fn by_token(token: &str, state: &AppState) -> ApiResult<Session> {
    let (identity, caller) = state.tokens.verify(token)?;
    let pool = match &identity {
        Identity::Agent { .. } => &state.pools.agents,
        Identity::Person { .. } => &state.pools.people,
    };
    Ok(Session {
        pool: pool.clone(),
        identity,
        caller,
        key: None,
        turn: None,
    })
}

fn bearer(headers: &HeaderMap) -> ApiResult<&str> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            ApiError::unauthenticated("send Authorization: Bearer <token>, or X-Agent-Key")
        })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn token_in(value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        bearer(&headers).ok().map(str::to_owned)
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(token_in("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token_in("bearer abc").as_deref(), Some("abc"));
        assert_eq!(token_in("Basic abc"), None);
        assert_eq!(token_in("abc"), None);
    }
}
