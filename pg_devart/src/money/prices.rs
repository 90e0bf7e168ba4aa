//! The prices of a service at a moment, and what a cost comes to at them. An unknown price is
//! refused, never taken as free: here for a settlement, in [`devart_core::choice`] for a hold or a
//! charge; that a unit has no price, [`devart_core::price`] finds out.

use devart_core::argument_error::ArgumentError;
use devart_core::cost::Cost;
use devart_core::price::Prices;
use pgrx::JsonB;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use rust_decimal::Decimal;

use crate::error::Error;
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

/// What a cost comes to in US dollars.
///
/// # Errors
/// [`Error::InvalidArgument`] for usage whose price is unknown, or that costs too much.
pub fn price(cost: &Cost, prices: Option<&Prices>) -> Result<Decimal, Error> {
    Ok(cost.at(prices).map_err(ArgumentError::from)?)
}
