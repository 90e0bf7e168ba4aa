//! US dollars between Postgres and Rust: `numeric(18,6)` and [`Decimal`], digit for digit.

use std::str::FromStr;

use devart_core::price::USD_SCALE;
use pgrx::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::error::Error;
use crate::pg::spi::Row;

/// A column of money.
pub fn read(row: &Row, column: i32) -> Option<Decimal> {
    row.get::<AnyNumeric>(column).map(|amount| {
        let text = amount.to_string();
        Decimal::from_str(&text).unwrap_or_else(|_| panic!("{text} is not an amount of money"))
    })
}

/// A column of money that is never null.
pub fn required(row: &Row, column: i32) -> Decimal {
    read(row, column).unwrap_or_else(|| panic!("column {column} is null"))
}

/// An amount as an argument of a statement.
pub fn datum(amount: Decimal) -> AnyNumeric {
    AnyNumeric::from_str(&amount.to_string()).expect("a decimal is numeric")
}

/// An amount that a caller gave, rounded to six decimals.
///
/// # Errors
/// [`Error::InvalidArgument`] naming the argument, when it is negative, no number or a trillion or more.
pub fn argument(name: &str, amount: &AnyNumeric) -> Result<Decimal, Error> {
    let refuse = |what: &str| Error::InvalidArgument(format!("{name} must {what}"));
    let amount = Decimal::from_str(&amount.to_string())
        .map_err(|_| refuse("be a number with at most 28 digits"))?;
    if amount < Decimal::ZERO {
        return Err(refuse("not be negative"));
    }
    if amount >= Decimal::from(1_000_000_000_000_i64) {
        return Err(refuse("be less than a trillion"));
    }
    Ok(amount.round_dp_with_strategy(USD_SCALE, RoundingStrategy::MidpointAwayFromZero))
}
