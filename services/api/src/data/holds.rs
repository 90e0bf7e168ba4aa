//! Money that is set aside, and what becomes of it.

use devart_kit::db::AsCaller;
use sqlx::types::Json;
use uuid::Uuid;

use crate::http::json::GivenJson;
use crate::model::hold::{Dispatch, DispatchOutcome, SettleRequest, Settlement};

const DISPATCH: &str = "
    select devart_private.dispatch_task_as(
        $1, $2, service_id => $3, estimate_usd => $4, usage => $5, task_id => $6,
        lease_token => $7, idempotency_key => $8, ask => $9,
        ttl => make_interval(secs => coalesce($10, 600)::float8))";

const SETTLE: &str = "
    select devart_private.settle_charge_as($1, $2, hold_id => $3, amount_usd => $4, usage => $5)";

const RELEASE: &str = "select devart_private.release_charge_as($1, $2, hold_id => $3)";

/// Sets money aside for the calling agent. A refusal is a result.
pub async fn dispatch(db: AsCaller<'_>, dispatch: &Dispatch) -> sqlx::Result<DispatchOutcome> {
    let Json(outcome) = sqlx::query_scalar(DISPATCH)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(dispatch.service_id)
        .bind(dispatch.estimate_usd)
        .bind(dispatch.usage.as_ref().map(GivenJson::argument))
        .bind(dispatch.task_id)
        .bind(dispatch.lease_token)
        .bind(&dispatch.idempotency_key)
        .bind(dispatch.ask)
        .bind(dispatch.ttl_seconds.map(i64::from))
        .fetch_one(db.connection)
        .await?;
    Ok(outcome)
}

/// Replaces a hold by the real cost.
pub async fn settle(
    db: AsCaller<'_>,
    hold_id: Uuid,
    cost: &SettleRequest,
) -> sqlx::Result<Settlement> {
    let Json(settlement) = sqlx::query_scalar(SETTLE)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(hold_id)
        .bind(cost.amount_usd)
        .bind(cost.usage.as_ref().map(GivenJson::argument))
        .fetch_one(db.connection)
        .await?;
    Ok(settlement)
}

/// Gives the money of a hold back; whether there was any to give back.
pub async fn release(db: AsCaller<'_>, hold_id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar(RELEASE)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(hold_id)
        .fetch_one(db.connection)
        .await
}
