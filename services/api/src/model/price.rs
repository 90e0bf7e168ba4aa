//! Mending prices that are wrong.

use serde::Deserialize;
use utoipa::ToSchema;

use super::Validate;
use super::scalar::{Timestamp, Usd};
use crate::error::{ApiError, ApiResult};

/// What a price should have been; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceCorrection {
    /// At most twelve decimals.
    #[schema(minimum = 0)]
    pub usd_per_unit: Option<Usd>,
    /// Between the starts of the prices before and after it.
    pub effective_from: Option<Timestamp>,
}

/// When a price ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceEnd {
    /// Left out: now. Not after its start: the price is taken back.
    pub effective_to: Option<Timestamp>,
}

impl Validate for PriceCorrection {
    fn validate(&self) -> ApiResult<()> {
        if self.usd_per_unit.is_some() || self.effective_from.is_some() {
            return Ok(());
        }
        let missing = "usd_per_unit or effective_from must be given";
        Err(ApiError::invalid("usd_per_unit", missing))
    }
}

impl Validate for PriceEnd {}
