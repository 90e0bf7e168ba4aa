//! Mending prices that are wrong.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::price::{PriceCorrection, PriceEnd};
use crate::model::service::ServicePrice;

const CORRECT: &str = "
    select p.* from devart.correct_service_price(
        price_id => (select o.id from devart.service_prices o
                     where o.service_id = $1 and o.id = $2),
        usd_per_unit => $3, effective_from => $4) p";

const END: &str = "
    select p.* from devart.end_service_price(
        price_id => (select o.id from devart.service_prices o
                     where o.service_id = $1 and o.id = $2),
        effective_to => $3) p";

/// Corrects a price of a service.
pub async fn correct(
    db: &mut PgConnection,
    service_id: Uuid,
    price_id: Uuid,
    correction: &PriceCorrection,
) -> sqlx::Result<ServicePrice> {
    sqlx::query_as(CORRECT)
        .bind(service_id)
        .bind(price_id)
        .bind(correction.usd_per_unit)
        .bind(correction.effective_from)
        .fetch_one(db)
        .await
}

/// Ends a price of a service, or takes it back.
pub async fn end(
    db: &mut PgConnection,
    service_id: Uuid,
    price_id: Uuid,
    end: &PriceEnd,
) -> sqlx::Result<ServicePrice> {
    sqlx::query_as(END)
        .bind(service_id)
        .bind(price_id)
        .bind(end.effective_to)
        .fetch_one(db)
        .await
}
