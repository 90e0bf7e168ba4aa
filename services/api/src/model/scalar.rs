//! Scalars whose JSON form differs from the default of their crates.

use std::ops::RangeInclusive;

use devart_core::moment;
use devart_core::usd::unless_vanished;
use rust_decimal::Decimal;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres};
use time::{OffsetDateTime, UtcOffset};
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
        let value = serde_json::Value::deserialize(deserializer)?;
        let read = rust_decimal::serde::arbitrary_precision::deserialize(&value);
        // What costs something is not free, however little it is.
        match (read, value.as_number()) {
            (Ok(usd), Some(number)) => Ok(unless_vanished(usd, &number.to_string())),
            (Err(_), Some(number)) if has_too_many_decimals(number) => {
                Ok(unless_vanished(Decimal::ZERO, &number.to_string()))
            }
            (read, _) => read.map_err(D::Error::custom),
        }
        .map(Self)
    }
}

/// Whether it is nearer to 0 than any [`Decimal`].
fn has_too_many_decimals(number: &serde_json::Number) -> bool {
    number.as_f64().is_some_and(|number| number.abs() < 1e-28)
}

/// A point in time, as RFC 3339 with an offset. One that is given must be from 1970-01-01T00:00:00Z
/// to before 3000-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00Z")]
pub struct Timestamp(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = time::serde::rfc3339::deserialize(deserializer)?;
        match moment::is_sensible(at.unix_timestamp()) {
            true => Ok(Self(at.to_offset(UtcOffset::UTC))),
            false => Err(D::Error::custom(moment::OUT_OF_RANGE)),
        }
    }
}

impl sqlx::Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as sqlx::Type<Postgres>>::type_info()
    }

    fn compatible(other: &PgTypeInfo) -> bool {
        <OffsetDateTime as sqlx::Type<Postgres>>::compatible(other)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <OffsetDateTime as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}

/// What the database holds and no text in RFC 3339 can say (infinities, years of five digits) is
/// shown as the nearest that can be said: one such row must not hide a whole list.
impl<'r> Decode<'r, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let since_2000 = <i64 as Decode<'r, Postgres>>::decode(value)?;
        Ok(Self(nearest(since_2000)))
    }
}

fn nearest(microseconds_since_2000: i64) -> OffsetDateTime {
    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, in seconds since 1970.
    const SAYABLE: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let second = microseconds_since_2000
        .div_euclid(1_000_000)
        .saturating_add(moment::POSTGRES_EPOCH_SECONDS);
    let nearest = second.clamp(*SAYABLE.start(), *SAYABLE.end());
    let microseconds = match nearest == second {
        true => microseconds_since_2000.rem_euclid(1_000_000),
        false => 0,
    };
    let nanoseconds = (i128::from(nearest) * 1_000_000 + i128::from(microseconds)) * 1_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    at.expect("years of four digits are a date")
}

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

    #[test]
    fn a_timestamp_that_not_everybody_can_reckon_with_is_refused() {
        for text in [
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "3000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-12:00",
        ] {
            let refused = serde_json::from_str::<Timestamp>(&format!("{text:?}"));
            let refused = refused.expect_err(text).to_string();
            assert!(refused.starts_with("must be from 1970"), "{refused}");
        }
    }

    #[test]
    fn what_no_text_can_say_is_shown_as_the_nearest_that_can() {
        let shown = |microseconds| {
            serde_json::to_string(&Timestamp(nearest(microseconds))).expect("a timestamp")
        };
        assert_eq!(shown(0), "\"2000-01-01T00:00:00Z\"");
        assert_eq!(shown(i64::MAX), "\"9999-12-31T23:59:59Z\"");
        assert_eq!(shown(i64::MIN), "\"0001-01-01T00:00:00Z\"");
    }
}
