//! What is to be paid: dollars, or usage that a service's prices turn into dollars.

use devart_core::price::{PriceError, Prices, Usage};
use pgrx::JsonB;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::usd;
use crate::error::Error;

/// Dollars if they are known; the usage if it is told. At least one of them.
#[derive(Debug, Clone)]
pub struct Cost {
    amount_usd: Option<Decimal>,
    usage: Option<Usage>,
}

impl Cost {
    /// Reads a caller's arguments; `name` is that of the amount.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when both are missing or one makes no sense.
    pub fn of_arguments(
        name: &str,
        amount_usd: Option<AnyNumeric>,
        usage: Option<JsonB>,
    ) -> Result<Self, Error> {
        let amount_usd = amount_usd
            .map(|amount| usd::argument(name, &amount))
            .transpose()?;
        let usage = usage
            .map(|JsonB(json)| Usage::from_json(&json))
            .transpose()
            .map_err(invalid)?;
        if amount_usd.is_none() && usage.is_none() {
            return Err(Error::InvalidArgument(format!(
                "{name} or usage must be given"
            )));
        }
        Ok(Cost { amount_usd, usage })
    }

    /// A cost that is known.
    pub fn of_amount(amount_usd: Decimal) -> Self {
        Cost {
            amount_usd: Some(amount_usd),
            usage: None,
        }
    }

    /// Whether prices decide what it comes to.
    pub fn needs_prices(&self) -> bool {
        self.amount_usd.is_none()
    }

    /// The dollars, under these prices when it needs any.
    ///
    /// # Errors
    /// [`PriceError::UnknownUnit`] and [`PriceError::TooMuch`], only when it needs prices.
    pub fn at(&self, prices: Option<&Prices>) -> Result<Decimal, PriceError> {
        match (self.amount_usd, &self.usage) {
            (Some(amount_usd), _) => Ok(amount_usd),
            (None, Some(usage)) => prices.unwrap_or(&Prices::default()).cost(usage),
            (None, None) => Err(PriceError::NotUsage),
        }
    }

    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// The usage as an argument of a statement.
    pub fn usage_json(&self) -> Option<JsonB> {
        self.usage.as_ref().map(|usage| JsonB(usage.to_json()))
    }

    /// The cost as it is compared with that of a repeated request.
    pub fn to_json(&self) -> Value {
        json!({
            "amount_usd": self.amount_usd.map(|amount| amount.normalize().to_string()),
            "usage": self.usage.as_ref().map(Usage::to_json),
        })
    }
}

/// What a caller is told about usage that makes no sense.
pub fn invalid(error: PriceError) -> Error {
    Error::InvalidArgument(match error {
        PriceError::UnknownUnit(unit) => format!("usage has no price for its unit {unit}"),
        other => other.to_string(),
    })
}
