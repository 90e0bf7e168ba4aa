//! US dollars: what `numeric(18,6)` can hold, digit for digit.

use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};

use crate::argument_error::ArgumentError;

/// Decimals of an amount of money.
pub const USD_SCALE: u32 = 6;

/// A trillion: the least that is too much.
pub const TOO_MUCH: Decimal = Decimal::from_parts(0xD4A5_1000, 0xE8, 0, false, 0);

/// An amount that a caller gave as the argument `name`, rounded to [`USD_SCALE`] decimals.
///
/// # Errors
/// When it is negative, no number (NaN and infinity are none), or [`TOO_MUCH`].
pub fn argument(name: &'static str, amount: &str) -> Result<Decimal, ArgumentError> {
    let refuse = |problem: &'static str| ArgumentError::new(name, problem);
    let amount =
        Decimal::from_str(amount).map_err(|_| refuse("must be a number with at most 28 digits"))?;
    if amount < Decimal::ZERO {
        return Err(refuse("must not be negative"));
    }
    if amount >= TOO_MUCH {
        return Err(refuse("must be less than a trillion"));
    }
    Ok(amount.round_dp_with_strategy(USD_SCALE, RoundingStrategy::MidpointAwayFromZero))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(amount: &str) -> Result<String, String> {
        argument("amount_usd", amount)
            .map(|amount| amount.to_string())
            .map_err(|error| error.problem.into_owned())
    }

    #[test]
    fn an_amount_is_rounded_to_the_next_millionth() {
        assert_eq!(read("1.0000004"), Ok("1.000000".to_owned()));
        assert_eq!(read("1.0000005"), Ok("1.000001".to_owned()));
        assert_eq!(read("0"), Ok("0".to_owned()));
    }

    #[test]
    fn a_trillion_is_too_much_and_the_millionth_below_it_is_not() {
        assert_eq!(TOO_MUCH, Decimal::from(1_000_000_000_000_i64));
        assert_eq!(
            read("999999999999.999999"),
            Ok("999999999999.999999".to_owned())
        );
        assert_eq!(
            read("1000000000000"),
            Err("must be less than a trillion".to_owned())
        );
    }

    #[test]
    fn what_is_negative_or_no_number_is_refused() {
        assert_eq!(read("-0.000001"), Err("must not be negative".to_owned()));
        for no_number in ["NaN", "Infinity", "", "1e400", "one"] {
            let refused = Err("must be a number with at most 28 digits".to_owned());
            assert_eq!(read(no_number), refused, "{no_number:?}");
        }
    }
}
