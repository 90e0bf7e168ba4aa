//! Scalars whose JSON form differs from the default of their crates.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// US dollars, exact: a JSON number with as many digits as the database holds, never a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, ToSchema)]
#[sqlx(transparent)]
#[schema(value_type = f64, example = 0.012)]
pub struct Usd(pub Decimal);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        rust_decimal::serde::arbitrary_precision::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        rust_decimal::serde::arbitrary_precision::deserialize(deserializer).map(Self)
    }
}

/// A point in time, as RFC 3339 with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00Z")]
pub struct Timestamp(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

/// For `Option<Option<T>>`: tells a member that is null from one that is absent.
///
/// # Errors
/// When the member is present and not a `T`.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_every_digit_in_both_directions() {
        for text in ["0.012000", "123456789012.345678", "5", "0.1"] {
            let money: Usd = serde_json::from_str(text).expect("a number");
            assert_eq!(serde_json::to_string(&money).expect("a number"), text);
        }
    }

    #[test]
    fn money_is_not_a_word() {
        assert!(serde_json::from_str::<Usd>("\"much\"").is_err());
    }

    #[test]
    fn a_timestamp_is_rfc_3339() {
        let text = "\"2026-01-31T12:00:00Z\"";
        let at: Timestamp = serde_json::from_str(text).expect("a timestamp");
        assert_eq!(serde_json::to_string(&at).expect("a timestamp"), text);
    }
}
