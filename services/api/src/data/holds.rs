//! Money that is set aside, and what becomes of it.

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::model::hold::{Dispatch, DispatchOutcome, SettleRequest, Settlement};

const DISPATCH: &str = "
    select devart.dispatch_task(service_id => $1, estimate_usd => $2, usage => $3, task_id => $4, lease_token => $5,
        idempotency_key => $6, ask => $7, ttl => make_interval(secs => coalesce($8, 600)::float8))";

/// Sets money aside for the calling agent. A refusal is a result.
pub async fn dispatch(db: &mut PgConnection, dispatch: &Dispatch) -> sqlx::Result<DispatchOutcome> {
    let Json(outcome) = sqlx::query_scalar(DISPATCH)
        .bind(dispatch.service_id)
        .bind(dispatch.estimate_usd)
        .bind(dispatch.usage.as_ref().map(Json))
        .bind(dispatch.task_id)
        .bind(dispatch.lease_token)
        .bind(&dispatch.idempotency_key)
        .bind(dispatch.ask)
        .bind(dispatch.ttl_seconds.map(i64::from))
        .fetch_one(db)
        .await?;
    Ok(outcome)
}

/// Replaces a hold by the real cost.
pub async fn settle(
    db: &mut PgConnection,
    hold_id: Uuid,
    cost: &SettleRequest,
) -> sqlx::Result<Settlement> {
    let Json(settlement) = sqlx::query_scalar("select devart.settle_charge($1, $2, $3)")
        .bind(hold_id)
        .bind(cost.amount_usd)
        .bind(cost.usage.as_ref().map(Json))
        .fetch_one(db)
        .await?;
    Ok(settlement)
}

/// Gives the money of a hold back; whether there was any to give back.
pub async fn release(db: &mut PgConnection, hold_id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("select devart.release_charge($1)")
        .bind(hold_id)
        .fetch_one(db)
        .await
}
