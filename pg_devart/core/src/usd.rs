//! US dollars: what `numeric(18,6)` can hold, digit for digit.

use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};

use crate::argument_error::ArgumentError;

/// Decimals of an amount of money.
pub const USD_SCALE: u32 = 6;

/// A trillion: the least that is too much.
pub const TOO_MUCH: Decimal = Decimal::from_parts(0xD4A5_1000, 0xE8, 0, false, 0);

/// An amount that a caller gave as the argument `name`, rounded up to [`USD_SCALE`] decimals: what
/// costs something is never free, and the ledger never below the cost.
///
/// # Errors
/// When it is negative, no number (NaN and infinity are none), or [`TOO_MUCH`].
pub fn argument(name: &'static str, text: &str) -> Result<Decimal, ArgumentError> {
    let refuse = |problem: &'static str| ArgumentError::new(name, problem);
    let amount =
        Decimal::from_str(text).map_err(|_| refuse("must be a number with at most 28 digits"))?;
    let amount = unless_vanished(amount, text);
    if amount < Decimal::ZERO {
        return Err(refuse("must not be negative"));
    }
    let rounded = amount
        .abs()
        .round_dp_with_strategy(USD_SCALE, RoundingStrategy::AwayFromZero);
    if rounded >= TOO_MUCH {
        return Err(refuse("must be less than a trillion"));
    }
    Ok(rounded)
}

/// The least number above 0.
pub(crate) const LEAST: Decimal = Decimal::from_parts(1, 0, 0, false, 28);

/// What was read from `text`, which may have an exponent; and where it is 0 only because it was
/// read, having more decimals than a [`Decimal`] can have, the least number that is not.
pub fn unless_vanished(number: Decimal, text: &str) -> Decimal {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    match (
        number.is_zero() && !is_zero(mantissa),
        text.starts_with('-'),
    ) {
        (false, _) => number,
        (true, false) => LEAST,
        (true, true) => -LEAST,
    }
}

/// Whether a number, written without an exponent, is 0: a [`Decimal`] of more than 28 decimals also
/// is when the number is not.
fn is_zero(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
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
    fn an_amount_is_rounded_up_to_a_millionth_and_never_to_nothing() {
        assert_eq!(read("1.0000004"), Ok("1.000001".to_owned()));
        assert_eq!(read("1.0000005"), Ok("1.000001".to_owned()));
        assert_eq!(read("1.000000000"), Ok("1.000000".to_owned()));
        let decimals = |count| format!("0.{}1", "0".repeat(count));
        for amount in [decimals(6), decimals(27), decimals(40), decimals(400)] {
            assert_eq!(read(&amount), Ok("0.000001".to_owned()), "{amount}");
        }
        assert_eq!(read("0"), Ok("0".to_owned()));
        assert_eq!(read("0.000000000"), Ok("0.000000".to_owned()));
    }

    #[test]
    fn a_trillion_is_too_much_and_the_millionth_below_it_is_not() {
        assert_eq!(TOO_MUCH, Decimal::from(1_000_000_000_000_i64));
        assert_eq!(
            read("999999999999.999999"),
            Ok("999999999999.999999".to_owned())
        );
        for too_much in ["1000000000000", "999999999999.9999991"] {
            let refused = Err("must be less than a trillion".to_owned());
            assert_eq!(read(too_much), refused, "{too_much}");
        }
    }

    #[test]
    fn what_is_negative_or_no_number_is_refused() {
        for negative in ["-0.000001", &format!("-0.{}1", "0".repeat(40))] {
            let refused = Err("must not be negative".to_owned());
            assert_eq!(read(negative), refused, "{negative}");
        }
        assert_eq!(read("-0"), Ok("0".to_owned()));
        for no_number in ["NaN", "Infinity", "", "1e400", "one"] {
            let refused = Err("must be a number with at most 28 digits".to_owned());
            assert_eq!(read(no_number), refused, "{no_number:?}");
        }
    }
}
