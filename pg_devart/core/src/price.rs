//! What usage costs, and how much usage an amount of money buys. Exact: decimal arithmetic, never
//! floating point. An unknown price is refused.

use std::collections::BTreeMap;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Map, Number, Value, json};

use crate::argument_error::ArgumentError;
use crate::usd::{LEAST, TOO_MUCH, USD_SCALE, unless_vanished};

/// Why usage has no price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriceError {
    /// Nothing says what this unit costs. Never taken as free.
    UnknownUnit(String),
    /// Not an object of units and quantities, or an empty one.
    NotUsage,
    /// A unit without a name, or with a long one.
    UnitName,
    /// The quantity of this unit is not a number of 0 or more.
    NotAQuantity(String),
    /// More than an amount of money can be.
    TooMuch,
}

/// What callers are told about their argument `usage`.
impl From<PriceError> for ArgumentError {
    fn from(error: PriceError) -> Self {
        match error {
            PriceError::UnknownUnit(unit) => {
                ArgumentError::new("usage", format!("has no price for its unit {unit}"))
            }
            PriceError::NotUsage => ArgumentError::new(
                "usage",
                "must be an object of units and quantities, with at least one unit",
            ),
            PriceError::UnitName => ArgumentError::new(
                "usage",
                format!("must name each unit in 1 to {MAX_UNIT_CHARS} characters"),
            ),
            PriceError::NotAQuantity(unit) => {
                ArgumentError::new(format!("usage.{unit}"), "must be a number of 0 or more")
            }
            PriceError::TooMuch => {
                ArgumentError::new("usage", "must not cost a trillion dollars or more")
            }
        }
    }
}

/// The longest name of a unit, as the table of prices has it.
const MAX_UNIT_CHARS: usize = 64;

/// Units used, and how many of each: `{"input_token": 1200, "output_token": 300}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(BTreeMap<String, Decimal>);

/// US dollars for one of each unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Price>);

/// What one of a unit costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Price {
    usd: Decimal,
    above: Option<Threshold>,
}

/// A call that uses more than so many pays another price, for each of them: a long context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Threshold {
    units: Decimal,
    usd: Decimal,
}

impl Price {
    /// A number; or an object of `usd`, `above_units` and `usd_above`.
    fn from_json(json: &Value) -> Option<Self> {
        if let Some(usd) = decimal(json) {
            return Some(Price { usd, above: None });
        }
        let member = |name| decimal(json.get(name)?);
        Some(Price {
            usd: member("usd")?,
            above: Some(Threshold {
                units: member("above_units")?,
                usd: member("usd_above")?,
            }),
        })
    }

    fn to_json(self) -> Value {
        let usd = number(self.usd.normalize());
        match self.above {
            None => usd,
            Some(above) => json!({
                "usd": usd,
                "above_units": number(above.units.normalize()),
                "usd_above": number(above.usd.normalize()),
            }),
        }
    }

    /// Of one, in a call that uses so many.
    fn in_call_of(self, quantity: Decimal) -> Decimal {
        match self.above {
            Some(above) if quantity > above.units => above.usd,
            _ => self.usd,
        }
    }

    fn dearest(self) -> Decimal {
        self.above.map_or(self.usd, |above| above.usd.max(self.usd))
    }

    /// How many one call can use for so much, in whole units; `None` for any number.
    fn affordable(self, remaining_usd: Decimal) -> Option<Decimal> {
        let at = |usd| Some(remaining_usd.checked_div(usd)?.floor());
        let cheap = at(self.usd);
        match self.above {
            Some(above) if cheap.is_none_or(|cheap| cheap > above.units) => {
                Some(at(above.usd)?.max(above.units.floor()))
            }
            _ => cheap,
        }
    }
}

impl Usage {
    /// Reads usage from JSON.
    ///
    /// # Errors
    /// [`PriceError::NotUsage`] unless it is an object with members, [`PriceError::UnitName`] for a
    /// member whose name is none, [`PriceError::NotAQuantity`] for one that is no quantity.
    pub fn from_json(json: &Value) -> Result<Self, PriceError> {
        let mut names = json.as_object().into_iter().flat_map(Map::keys);
        if !names.all(|name| is_unit_name(name)) {
            return Err(PriceError::UnitName);
        }
        match decimals(json) {
            Some(Ok(units)) if !units.is_empty() => Ok(Usage(units)),
            Some(Err(unit)) => Err(PriceError::NotAQuantity(unit)),
            _ => Err(PriceError::NotUsage),
        }
    }

    /// The usage as JSON.
    pub fn to_json(&self) -> Value {
        to_json(&self.0)
    }

    /// What so much buys of a mix that costs `cost`, in whole units.
    fn share(&self, remaining_usd: Decimal, cost: Decimal) -> Option<Usage> {
        let units = self.0.iter().map(|(unit, quantity)| {
            let share = remaining_usd.checked_mul(*quantity)?.checked_div(cost)?;
            Some((unit.clone(), share.floor()))
        });
        units.collect::<Option<_>>().map(Usage)
    }
}

impl Prices {
    /// Reads prices from JSON: unit to US dollars. `None` when they make no sense.
    pub fn from_json(json: &Value) -> Option<Self> {
        let members = json.as_object()?.iter();
        let prices = members.map(|(unit, price)| Some((unit.clone(), Price::from_json(price)?)));
        prices.collect::<Option<_>>().map(Prices)
    }

    /// The prices as JSON.
    pub fn to_json(&self) -> Value {
        let members = self.0.iter();
        let members = members.map(|(unit, price)| (unit.clone(), price.to_json()));
        Value::Object(members.collect())
    }

    /// What the usage costs in US dollars, rounded up to [`USD_SCALE`] decimals: rounding never
    /// makes usage free.
    ///
    /// # Errors
    /// [`PriceError::UnknownUnit`] for a unit without a price, even if none of it was used;
    /// [`PriceError::TooMuch`].
    pub fn cost(&self, usage: &Usage) -> Result<Decimal, PriceError> {
        let cost = self.exact_cost(usage)?;
        let rounded = cost.round_dp_with_strategy(USD_SCALE, RoundingStrategy::AwayFromZero);
        (rounded < TOO_MUCH)
            .then_some(rounded)
            .ok_or(PriceError::TooMuch)
    }

    fn exact_cost(&self, usage: &Usage) -> Result<Decimal, PriceError> {
        self.cost_by(usage, Price::in_call_of)
    }

    fn cost_by(
        &self,
        usage: &Usage,
        usd_of: impl Fn(Price, Decimal) -> Decimal,
    ) -> Result<Decimal, PriceError> {
        usage
            .0
            .iter()
            .try_fold(Decimal::ZERO, |sum, (unit, quantity)| {
                let price = self
                    .0
                    .get(unit)
                    .ok_or_else(|| PriceError::UnknownUnit(unit.clone()))?;
                let usd = usd_of(*price, *quantity);
                let part = product(usd, *quantity).ok_or(PriceError::TooMuch)?;
                sum.checked_add(part).ok_or(PriceError::TooMuch)
            })
    }

    /// How much `remaining_usd` buys: with `usage`, that mix made smaller or larger, in whole
    /// units; without, each unit alone. `None` where nothing has a price above zero.
    pub fn affordable(&self, usage: Option<&Usage>, remaining_usd: Decimal) -> Option<Usage> {
        let remaining_usd = remaining_usd.max(Decimal::ZERO);
        match usage {
            Some(usage) => self.affordable_mix(usage, remaining_usd),
            None => self.affordable_alone(remaining_usd),
        }
    }

    fn affordable_mix(&self, usage: &Usage, remaining_usd: Decimal) -> Option<Usage> {
        let cost = self.exact_cost(usage).ok().filter(|cost| !cost.is_zero())?;
        let mix = usage.share(remaining_usd, cost)?;
        if self
            .exact_cost(&mix)
            .is_ok_and(|cost| cost <= remaining_usd)
        {
            return Some(mix);
        }
        // Larger, it goes beyond a threshold.
        let dearest = self.cost_by(usage, |price, _| price.dearest()).ok()?;
        usage.share(remaining_usd, dearest)
    }

    fn affordable_alone(&self, remaining_usd: Decimal) -> Option<Usage> {
        let prices = self.0.iter();
        let units: BTreeMap<_, _> = prices
            .filter_map(|(unit, price)| Some((unit.clone(), price.affordable(remaining_usd)?)))
            .collect();
        (!units.is_empty()).then_some(Usage(units))
    }
}

/// Rounds what is below all digits up: a product of two numbers above 0 is above 0. `None`: too
/// large.
fn product(price: Decimal, quantity: Decimal) -> Option<Decimal> {
    let product = price.checked_mul(quantity)?;
    let vanished = product.is_zero() && !price.is_zero() && !quantity.is_zero();
    Some(if vanished { LEAST } else { product })
}

/// A JSON number with all of its digits.
pub fn number(decimal: Decimal) -> Value {
    Number::from_str(&decimal.to_string()).map_or(Value::Null, Value::Number)
}

fn is_unit_name(name: &str) -> bool {
    (1..=MAX_UNIT_CHARS).contains(&name.chars().count())
}

/// `None` unless it is an object; `Err` names a member that is not a number of 0 or more.
fn decimals(json: &Value) -> Option<Result<BTreeMap<String, Decimal>, String>> {
    let members = json.as_object()?.iter();
    Some(
        members
            .map(|(name, value)| {
                decimal(value)
                    .map(|value| (name.clone(), value))
                    .ok_or_else(|| name.clone())
            })
            .collect(),
    )
}

fn decimal(value: &Value) -> Option<Decimal> {
    let text = value.as_number()?.to_string();
    let decimal = Decimal::from_str(&text)
        .or_else(|_| Decimal::from_scientific(&text))
        .ok()?;
    let decimal = unless_vanished(decimal, &text);
    (decimal >= Decimal::ZERO).then_some(decimal)
}

fn to_json(members: &BTreeMap<String, Decimal>) -> Value {
    let members = members
        .iter()
        .map(|(name, value)| (name.clone(), number(value.normalize())));
    Value::Object(members.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        let prices = json!({
            "input_token": 0.00000015, "output_token": 0.0000006, "request": 0.01, "free": 0,
        });
        Prices::from_json(&prices).expect("prices")
    }

    fn usage(json: Value) -> Usage {
        Usage::from_json(&json).expect("usage")
    }

    fn usd(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn a_cost_is_the_exact_sum_over_the_units() {
        let cost = prices().cost(&usage(
            json!({"input_token": 1_200_000, "output_token": 300_000, "request": 2}),
        ));
        assert_eq!(cost, Ok(usd("0.38")));
    }

    #[test]
    fn rounding_never_makes_usage_free() {
        assert_eq!(
            prices().cost(&usage(json!({"input_token": 1}))),
            Ok(usd("0.000001"))
        );
        assert_eq!(
            prices().cost(&usage(json!({"input_token": 0}))),
            Ok(Decimal::ZERO)
        );
        let tiny = format!(r#"{{"input_token": 0.{}1}}"#, "0".repeat(27));
        let tinier = format!(r#"{{"input_token": 0.{}1}}"#, "0".repeat(40));
        for quantity in [tiny, tinier] {
            let quantity = serde_json::from_str(&quantity).expect("JSON");
            assert_eq!(prices().cost(&usage(quantity)), Ok(usd("0.000001")));
        }
    }

    #[test]
    fn an_unknown_unit_has_no_price_even_when_none_was_used() {
        let unknown = Err(PriceError::UnknownUnit("gpu".to_owned()));
        assert_eq!(
            prices().cost(&usage(json!({"request": 1, "gpu": 0}))),
            unknown
        );
    }

    #[test]
    fn usage_that_makes_no_sense_is_named() {
        assert_eq!(Usage::from_json(&json!([1])), Err(PriceError::NotUsage));
        assert_eq!(Usage::from_json(&json!({})), Err(PriceError::NotUsage));
        let tiny = format!("-0.{}1", "0".repeat(40));
        let tiny: Value = serde_json::from_str(&tiny).expect("JSON");
        for quantity in [json!(-1), tiny, json!("1"), json!(null)] {
            let refused = Usage::from_json(&json!({"request": quantity}));
            assert_eq!(refused, Err(PriceError::NotAQuantity("request".to_owned())));
        }
    }

    #[test]
    fn a_unit_has_a_name_of_sensible_length() {
        for (name, chars) in [("", 1), ("x", 65), ("x", 10_000)] {
            let refused = Usage::from_json(&json!({name.repeat(chars): 1}));
            assert_eq!(refused, Err(PriceError::UnitName));
        }
        assert!(Usage::from_json(&json!({"é".repeat(64): 1})).is_ok());
    }

    #[test]
    fn callers_are_told_which_member_of_usage_makes_no_sense() {
        let told = ArgumentError::from(PriceError::NotAQuantity("request".to_owned()));
        assert_eq!(
            told.to_string(),
            "usage.request must be a number of 0 or more"
        );
        assert_eq!(told.field, "usage.request");
        let told = ArgumentError::from(PriceError::UnknownUnit("gpu".to_owned()));
        assert_eq!(told.to_string(), "usage has no price for its unit gpu");
        assert_eq!(told.field, "usage");
    }

    #[test]
    fn a_trillion_dollars_are_refused() {
        let most = usage(json!({"request": 99_999_999_999_999_u64}));
        assert_eq!(prices().cost(&most), Ok(usd("999999999999.99")));
        for quantity in ["100000000000000", "1e28", "79228162514264337593543950335"] {
            let quantity: Value = serde_json::from_str(quantity).expect("a number");
            assert_eq!(
                prices().cost(&usage(json!({"request": quantity}))),
                Err(PriceError::TooMuch)
            );
        }
    }

    #[test]
    fn an_affordable_mix_costs_no_more_than_what_is_left_and_nearly_all_of_it() {
        let asked = usage(json!({"input_token": 1000, "output_token": 500}));
        let affordable = prices()
            .affordable(Some(&asked), usd("0.000207"))
            .expect("priced");
        assert_eq!(
            affordable.to_json(),
            json!({"input_token": 460, "output_token": 230})
        );
        assert_eq!(prices().cost(&affordable), Ok(usd("0.000207")));
    }

    #[test]
    fn without_a_mix_each_unit_alone_is_told() {
        let affordable = prices().affordable(None, usd("0.05")).expect("priced");
        assert_eq!(
            affordable.to_json(),
            json!({"input_token": 333333, "output_token": 83333, "request": 5})
        );
    }

    #[test]
    fn what_costs_nothing_has_no_limit_to_tell() {
        assert_eq!(
            prices().affordable(Some(&usage(json!({"free": 3}))), usd("1")),
            None
        );
        assert_eq!(Prices::default().affordable(None, usd("1")), None);
        let overdrawn = prices()
            .affordable(Some(&usage(json!({"request": 3}))), usd("-1"))
            .expect("priced");
        assert_eq!(overdrawn.to_json(), json!({"request": 0}));
    }

    fn long_context() -> Prices {
        Prices::from_json(&json!({
            "input_token": {"usd": 0.01, "above_units": 100, "usd_above": 0.02}, "output_token": 1,
        }))
        .expect("prices")
    }

    #[test]
    fn a_call_above_the_threshold_pays_the_dearer_price_for_all_of_it() {
        let cost = |tokens: i64| long_context().cost(&usage(json!({"input_token": tokens})));
        assert_eq!(cost(100), Ok(usd("1")), "the threshold itself is below");
        assert_eq!(cost(101), Ok(usd("2.02")));
    }

    #[test]
    fn prices_with_thresholds_are_kept_as_they_are() {
        let kept = Prices::from_json(&long_context().to_json());
        assert_eq!(kept, Some(long_context()));
        for broken in [
            json!({"usd": 1}),
            json!([]),
            json!({"usd": 1, "above_units": -1, "usd_above": 2}),
        ] {
            assert_eq!(Prices::from_json(&json!({"input_token": broken})), None);
        }
    }

    #[test]
    fn what_is_affordable_costs_no_more_than_what_is_left_beyond_a_threshold_too() {
        for (remaining, tokens) in [("0.5", 50), ("1", 100), ("1.5", 100), ("4", 200)] {
            let alone = long_context()
                .affordable(None, usd(remaining))
                .expect("priced");
            assert_eq!(alone.to_json()["input_token"], json!(tokens), "{remaining}");
        }
        let asked = usage(json!({"input_token": 10}));
        for remaining in ["0.5", "1", "1.5", "4"] {
            let mix = long_context().affordable(Some(&asked), usd(remaining));
            let cost = long_context().cost(&mix.expect("priced"));
            assert!(cost.is_ok_and(|cost| cost <= usd(remaining)), "{remaining}");
        }
    }
}
