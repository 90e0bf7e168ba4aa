//! Deliveries from outside. Taken as the login role: nobody is calling.

use devart_kit::db::OneTrip;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::model::delivery::DeliveryOutcome;

/// Records a delivery whose signature was checked, and makes its task in the same transaction.
pub async fn receive_github(
    pool: &PgPool,
    delivery_id: &str,
    event: &str,
    payload: &Value,
) -> sqlx::Result<DeliveryOutcome> {
    let Json(outcome) =
        sqlx::query_scalar("select devart_private.receive_github_delivery($1, $2, $3)")
            .bind(delivery_id)
            .bind(event)
            .bind(payload)
            .fetch_one(OneTrip::Alone(pool))
            .await?;
    Ok(outcome)
}
