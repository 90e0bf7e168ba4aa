//! US dollars between Postgres and Rust: `numeric(18,6)` and [`Decimal`], digit for digit.

use std::str::FromStr;

use pgrx::prelude::*;
use rust_decimal::Decimal;

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
/// [`Error::InvalidArgument`] naming the argument, when it is negative, no number, or a trillion or
/// more.
pub fn argument(name: &'static str, amount: &AnyNumeric) -> Result<Decimal, Error> {
    Ok(devart_core::usd::argument(name, &amount.to_string())?)
}
