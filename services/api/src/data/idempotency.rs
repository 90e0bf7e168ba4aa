//! Answers kept for repeated requests. Called as the login role, in the change's own transaction.

use axum::http::StatusCode;
use devart_kit::db::{self, Caller};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::error::{ApiError, ApiResult};

const MAY_ASK: &str = "select coalesce(devart.my_user_id(), devart.my_agent_id()) is not null";

const UNIQUE_VIOLATION: &str = "23505";

#[derive(Deserialize)]
struct Kept {
    status: u16,
    body: Value,
}

/// Reserves the key, or finds the answer that was given under it. A request with the same key that
/// is still under way is waited for.
///
/// # Errors
/// 409 when the key was used for another request.
pub async fn begin(
    db: &mut PgConnection,
    principal: &str,
    key: &str,
    request_hash: &[u8; 32],
) -> ApiResult<Option<(StatusCode, Value)>> {
    let kept: Option<Json<Kept>> =
        sqlx::query_scalar("select devart_private.begin_idempotent($1, $2, $3)")
            .bind(principal)
            .bind(key)
            .bind(&request_hash[..])
            .fetch_one(db)
            .await
            .map_err(explain)?;
    kept.map(|Json(kept)| {
        let status = StatusCode::from_u16(kept.status).map_err(|_| ApiError::internal())?;
        Ok((status, kept.body))
    })
    .transpose()
}

/// Refuses a caller that may not act at all any more, as an agent whose key was revoked: a kept
/// answer is for those who may still ask.
///
/// # Errors
/// 403.
pub async fn require_may_ask(db: &mut PgConnection, caller: &Caller) -> ApiResult<()> {
    db::assume(db, caller).await?;
    let may_ask: bool = sqlx::query_scalar(MAY_ASK).fetch_one(db).await?;
    let refused = || ApiError::forbidden("you may not do this");
    may_ask.then_some(()).ok_or_else(refused)
}

/// Keeps the answer.
///
/// # Errors
/// 503 when the database is gone.
pub async fn finish(
    db: &mut PgConnection,
    principal: &str,
    key: &str,
    status: StatusCode,
    body: &Value,
) -> ApiResult<()> {
    sqlx::query("select devart_private.finish_idempotent($1, $2, $3, $4)")
        .bind(principal)
        .bind(key)
        .bind(i32::from(status.as_u16()))
        .bind(body)
        .execute(db)
        .await?;
    Ok(())
}

fn explain(error: sqlx::Error) -> ApiError {
    let reused = error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some(UNIQUE_VIOLATION));
    if reused {
        let detail = "Idempotency-Key was used with another request";
        ApiError::new(StatusCode::CONFLICT, "duplicate", detail).with_field("Idempotency-Key")
    } else {
        error.into()
    }
}
