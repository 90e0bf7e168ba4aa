//! The prices of a service at a moment.

use devart_core::price::Prices;
use pgrx::JsonB;
use pgrx::datum::{TimestampWithTimeZone, Uuid};

use crate::pg::spi::{Session, statement};

statement!(
    PRICES,
    include_str!("prices.sql"),
    [UUIDOID, TIMESTAMPTZOID]
);

/// What the service's units cost now, or did `at` a moment. `None` when nothing has a price.
pub fn of(
    session: &Session,
    service_id: Uuid,
    at: Option<TimestampWithTimeZone>,
) -> Option<Prices> {
    PRICES.with(|statement| {
        let rows = statement.rows(session, &[service_id.into(), at.into()]);
        let JsonB(json) = rows.first()?.get(1)?;
        Prices::from_json(&json)
    })
}
