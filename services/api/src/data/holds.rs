//! Money that is set aside, and what becomes of it.

use devart_kit::db::AsCaller;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::http::json::GivenJson;
use crate::model::hold::{
    Correction, CorrectionRequest, Dispatch, DispatchOutcome, ExtendRequest, SettleRequest,
    Settlement,
};

const DISPATCH: &str = "
    select devart_private.dispatch_task_as(
        $1, $2, service_id => $3, estimate_usd => $4, usage => $5, task_id => $6,
        lease_token => $7, idempotency_key => $8, ask => $9,
        ttl => make_interval(secs => coalesce($10, 600)::float8), dispatched => $11)";

const MARK_DISPATCHED: &str = "
    select devart_private.mark_dispatched_as($1, $2, hold_id => $3, lease_token => $4)";

const EXTEND: &str = "
    select devart_private.extend_charge_as(
        $1, $2, hold_id => $3, more_usd => $4, usage => $5, ttl_seconds => $6::int,
        idempotency_key => $7)";

const CORRECT: &str =
    "select devart.correct_charge(charge_id => $1, amount_usd => $2, reason => $3)";

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
        .bind(dispatch.dispatched)
        .fetch_one(db.connection)
        .await?;
    Ok(outcome)
}

/// Says that a hold's call goes out now; whether it may.
pub async fn mark_dispatched(
    db: AsCaller<'_>,
    hold_id: Uuid,
    lease_token: Option<Uuid>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(MARK_DISPATCHED)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(hold_id)
        .bind(lease_token)
        .fetch_one(db.connection)
        .await
}

/// Widens a hold. A refusal is a result.
pub async fn extend(
    db: AsCaller<'_>,
    hold_id: Uuid,
    more: &ExtendRequest,
) -> sqlx::Result<DispatchOutcome> {
    let Json(outcome) = sqlx::query_scalar(EXTEND)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(hold_id)
        .bind(more.more_usd)
        .bind(more.usage.as_ref().map(GivenJson::argument))
        .bind(more.ttl_seconds.map(i64::from))
        .bind(&more.idempotency_key)
        .fetch_one(db.connection)
        .await?;
    Ok(outcome)
}

/// Says what a charge really came to.
pub async fn correct(
    db: &mut PgConnection,
    charge_id: Uuid,
    correction: &CorrectionRequest,
) -> sqlx::Result<Correction> {
    let Json(corrected) = sqlx::query_scalar(CORRECT)
        .bind(charge_id)
        .bind(correction.amount_usd)
        .bind(&correction.reason)
        .fetch_one(db)
        .await?;
    Ok(corrected)
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
