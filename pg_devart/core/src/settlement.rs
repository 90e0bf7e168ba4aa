//! How a real cost settles a hold: what is spent out of it, beyond it, and given back.

use rust_decimal::Decimal;

use crate::status::ChargeKind;

/// What a settlement does to the windows, and what it is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Spent, all in all.
    pub cost: Decimal,
    /// Not set aside any more: the whole hold, or nothing when that was closed before.
    pub held: Decimal,
    /// Spent out of the hold.
    pub settled: Decimal,
    /// Spent beyond it. A late cost, whose hold was closed before, is all of this.
    pub overage: Decimal,
    /// Given back.
    pub released: Decimal,
    is_late: bool,
}

impl Settlement {
    /// Splits `cost`. `held`: the amount of the hold, `None` when that was closed before.
    ///
    /// What closes a hold adds up to it: `settled + released == held`.
    pub fn of(cost: Decimal, held: Option<Decimal>) -> Self {
        let is_late = held.is_none();
        let held = held.unwrap_or_default();
        let settled = cost.min(held);
        Settlement {
            cost,
            held,
            settled,
            overage: cost - settled,
            released: held - settled,
            is_late,
        }
    }

    /// The rows of the ledger. An open hold is closed by a row `settle`, even by one of zero.
    pub fn entries(&self) -> impl Iterator<Item = (ChargeKind, Decimal)> {
        let entries = [
            (ChargeKind::Settle, self.settled, !self.is_late),
            (ChargeKind::Overage, self.overage, !self.overage.is_zero()),
            (ChargeKind::Release, self.released, !self.released.is_zero()),
        ];
        entries
            .into_iter()
            .filter(|(_, _, wanted)| *wanted)
            .map(|(kind, amount, _)| (kind, amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(cost: i64, held: Option<i64>) -> Vec<(&'static str, i64)> {
        let settlement = Settlement::of(cost.into(), held.map(Decimal::from));
        let whole = |amount: Decimal| i64::try_from(amount).expect("whole dollars");
        settlement
            .entries()
            .map(|(kind, amount)| (kind.as_str(), whole(amount)))
            .collect()
    }

    #[test]
    fn a_cost_below_the_hold_gives_the_rest_back() {
        assert_eq!(entries(3, Some(10)), [("settle", 3), ("release", 7)]);
    }

    #[test]
    fn a_cost_above_the_hold_is_charged_all_the_same() {
        assert_eq!(entries(12, Some(10)), [("settle", 10), ("overage", 2)]);
    }

    #[test]
    fn a_cost_that_is_what_was_held_needs_one_row() {
        assert_eq!(entries(10, Some(10)), [("settle", 10)]);
    }

    #[test]
    fn a_call_that_cost_nothing_closes_its_hold_all_the_same() {
        assert_eq!(entries(0, Some(10)), [("settle", 0), ("release", 10)]);
    }

    #[test]
    fn a_late_cost_is_all_overage_as_nothing_is_held_any_more() {
        assert_eq!(entries(3, None), [("overage", 3)]);
        assert_eq!(entries(0, None), []);
        assert_eq!(Settlement::of(3.into(), None).held, Decimal::ZERO);
    }

    #[test]
    fn what_closes_a_hold_adds_up_to_it_and_what_is_spent_to_the_cost() {
        for cost in 0..=12 {
            for held in [None, Some(0), Some(5), Some(10)] {
                let of_hold = Settlement::of(cost.into(), held.map(Decimal::from));
                assert_eq!(of_hold.settled + of_hold.released, of_hold.held);
                assert_eq!(of_hold.settled + of_hold.overage, of_hold.cost);
            }
        }
    }
}
