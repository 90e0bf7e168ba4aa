//! A cost as callers tell it, and as statements take it.

use devart_core::argument_error::ArgumentError;
use devart_core::cost::Cost;
use devart_core::json::MAX_DETAIL_BYTES;
use devart_core::price::Usage;
use pgrx::JsonB;
use pgrx::prelude::*;

use super::usd;
use crate::error::Error;
use crate::json;
use crate::pg::raw_json::RawJsonb;

/// Reads a caller's arguments; `amount_name` is the name of the one that gives the amount.
///
/// # Errors
/// [`Error::InvalidArgument`] when both are missing or one makes no sense.
pub fn of_arguments(
    amount_name: &'static str,
    amount_usd: Option<AnyNumeric>,
    usage: Option<RawJsonb>,
) -> Result<Cost, Error> {
    let amount_usd = amount_usd
        .map(|amount| usd::argument(amount_name, &amount))
        .transpose()?;
    let usage = usage.as_ref().map(usage_of).transpose()?;
    Ok(Cost::new(amount_name, amount_usd, usage)?)
}

fn usage_of(json: &RawJsonb) -> Result<Usage, Error> {
    let json = json::read("usage", json, MAX_DETAIL_BYTES)?;
    Ok(Usage::from_json(&json).map_err(ArgumentError::from)?)
}

/// The same, where it may be left out altogether.
///
/// # Errors
/// [`Error::InvalidArgument`] when one makes no sense.
pub fn given(
    amount_name: &'static str,
    amount_usd: Option<AnyNumeric>,
    usage: Option<RawJsonb>,
) -> Result<Option<Cost>, Error> {
    if amount_usd.is_none() && usage.is_none() {
        return Ok(None);
    }
    of_arguments(amount_name, amount_usd, usage).map(Some)
}

/// The usage of a cost as an argument of a statement.
pub fn usage_json(cost: &Cost) -> Option<JsonB> {
    cost.usage().map(|usage| JsonB(usage.to_json()))
}
