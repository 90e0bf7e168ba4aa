//! What is to be paid: dollars, or usage that a service's prices turn into dollars.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::argument_error::ArgumentError;
use crate::price::{PriceError, Prices, Usage};

/// Dollars if they are known; the usage if it is told. At least one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    amount_usd: Option<Decimal>,
    usage: Option<Usage>,
}

impl Cost {
    /// A cost as a caller told it; `amount_name` is the name of the argument that gives the amount.
    ///
    /// # Errors
    /// When both are missing.
    pub fn new(
        amount_name: &'static str,
        amount_usd: Option<Decimal>,
        usage: Option<Usage>,
    ) -> Result<Self, ArgumentError> {
        if amount_usd.is_none() && usage.is_none() {
            return Err(ArgumentError::new(amount_name, "or usage must be given"));
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

    /// The cost as it is compared with that of a repeated request: equal amounts are equal, however
    /// many zeros they end with.
    pub fn to_json(&self) -> Value {
        json!({
            "amount_usd": self.amount_usd.map(|amount| amount.normalize().to_string()),
            "usage": self.usage.as_ref().map(Usage::to_json),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        Usage::from_json(&json!({"request": 3})).expect("usage")
    }

    fn usd(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn something_must_be_told() {
        let refused = Cost::new("estimate_usd", None, None).expect_err("nothing is no cost");
        assert_eq!(refused.to_string(), "estimate_usd or usage must be given");
    }

    #[test]
    fn dollars_go_before_usage_and_need_no_price() {
        let cost = Cost::new("amount_usd", Some(usd("2")), Some(usage())).expect("a cost");
        assert!(!cost.needs_prices());
        assert_eq!(cost.at(None), Ok(usd("2")));
    }

    #[test]
    fn usage_without_a_price_is_refused_and_never_free() {
        let cost = Cost::new("amount_usd", None, Some(usage())).expect("a cost");
        let unknown = Err(PriceError::UnknownUnit("request".to_owned()));
        assert_eq!(cost.at(None), unknown);
        let prices = Prices::from_json(&json!({"request": 0.5}));
        assert_eq!(cost.at(prices.as_ref()), Ok(usd("1.5")));
    }

    #[test]
    fn the_same_amount_written_otherwise_is_the_same_request() {
        let written = |amount| Cost::of_amount(usd(amount)).to_json();
        assert_eq!(written("1.50"), written("1.5"));
        assert_ne!(written("1.5"), written("1.6"));
    }
}
