//! US dollars between Postgres and Rust: `numeric(18,6)` and [`Decimal`], digit for digit.

use std::str::FromStr;

use pgrx::prelude::*;
use rust_decimal::Decimal;

use crate::error::Error;
use crate::row_reader::RowReader;

/// An amount as a statement gives it.
pub fn decimal(amount: &AnyNumeric) -> Decimal {
    let text = amount.to_string();
    Decimal::from_str(&text).unwrap_or_else(|_| panic!("{text} is not an amount of money"))
}

/// An amount that somebody wrote into a row; `None` when it is none, as NaN.
pub fn amount(amount: &AnyNumeric) -> Option<Decimal> {
    Decimal::from_str(&amount.to_string()).ok()
}

/// The next column, which is money; `None` for SQL null.
pub fn optional(columns: &mut RowReader) -> Option<Decimal> {
    let amount: Option<AnyNumeric> = columns.optional();
    amount.as_ref().map(decimal)
}

/// The next column, which is money and never null.
pub fn required(columns: &mut RowReader) -> Decimal {
    decimal(&columns.required())
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
