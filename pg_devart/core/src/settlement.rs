//! How a real cost settles a hold: what is spent out of it, beyond it, and given back.

use rust_decimal::Decimal;

use crate::status::ChargeKind;

/// How money stands that was set aside, when its real cost is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is set aside.
    Open(Decimal),
    /// It was given back.
    GivenBack,
    /// Nobody had told the cost in time, so all of it was presumed to be spent.
    Presumed(Decimal),
}

/// What a settlement does to the windows, and what it is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Spent, all in all.
    pub cost: Decimal,
    /// What is added to what the windows have spent: the cost, or what it differs by from what was
    /// presumed.
    pub spent: Decimal,
    /// Not set aside any more: the whole hold, or nothing when that was closed before.
    pub held: Decimal,
    /// Spent out of the hold.
    pub settled: Decimal,
    /// Spent beyond it. A late cost, whose hold was given back before, is all of this.
    pub overage: Decimal,
    /// Given back.
    pub released: Decimal,
    before: Held,
}

impl Settlement {
    /// Splits `cost` over what was set aside for it.
    ///
    /// What closes an open hold adds up to it: `settled + released == held`.
    pub fn of(cost: Decimal, before: Held) -> Self {
        let (held, presumed) = match before {
            Held::Open(held) => (held, Decimal::ZERO),
            Held::GivenBack => (Decimal::ZERO, Decimal::ZERO),
            Held::Presumed(presumed) => (Decimal::ZERO, presumed),
        };
        let set_aside = held + presumed;
        let covered = cost.min(set_aside);
        Settlement {
            cost,
            spent: cost - presumed,
            held,
            settled: cost.min(held),
            overage: cost - covered,
            released: set_aside - covered,
            before,
        }
    }

    /// Whether it comes after the hold had ended.
    pub fn is_late(&self) -> bool {
        !matches!(self.before, Held::Open(_))
    }

    /// Whether it replaces what was presumed.
    pub fn replaces_presumed(&self) -> bool {
        matches!(self.before, Held::Presumed(_))
    }

    /// The rows of the ledger. An open hold is closed by a row `settle`, even by one of zero; what
    /// was presumed is adjusted, up or down.
    pub fn entries(&self) -> impl Iterator<Item = (ChargeKind, Decimal)> {
        let adjusts = self.replaces_presumed();
        let entries = [
            (ChargeKind::Settle, self.settled, !self.is_late()),
            (
                ChargeKind::Overage,
                self.overage,
                !adjusts && !self.overage.is_zero(),
            ),
            (
                ChargeKind::Release,
                self.released,
                !adjusts && !self.released.is_zero(),
            ),
            (
                ChargeKind::Adjustment,
                self.spent,
                adjusts && !self.spent.is_zero(),
            ),
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

    fn open(held: i64) -> Held {
        Held::Open(held.into())
    }

    fn entries(cost: i64, before: Held) -> Vec<(&'static str, i64)> {
        let settlement = Settlement::of(cost.into(), before);
        let whole = |amount: Decimal| i64::try_from(amount).expect("whole dollars");
        settlement
            .entries()
            .map(|(kind, amount)| (kind.as_str(), whole(amount)))
            .collect()
    }

    #[test]
    fn a_cost_below_the_hold_gives_the_rest_back() {
        assert_eq!(entries(3, open(10)), [("settle", 3), ("release", 7)]);
    }

    #[test]
    fn a_cost_above_the_hold_is_charged_all_the_same() {
        assert_eq!(entries(12, open(10)), [("settle", 10), ("overage", 2)]);
    }

    #[test]
    fn a_cost_that_is_what_was_held_needs_one_row() {
        assert_eq!(entries(10, open(10)), [("settle", 10)]);
    }

    #[test]
    fn a_call_that_cost_nothing_closes_its_hold_all_the_same() {
        assert_eq!(entries(0, open(10)), [("settle", 0), ("release", 10)]);
    }

    #[test]
    fn a_late_cost_is_all_overage_as_nothing_is_held_any_more() {
        assert_eq!(entries(3, Held::GivenBack), [("overage", 3)]);
        assert_eq!(entries(0, Held::GivenBack), []);
        assert_eq!(
            Settlement::of(3.into(), Held::GivenBack).held,
            Decimal::ZERO
        );
    }

    #[test]
    fn a_late_cost_adjusts_what_was_presumed_up_or_down() {
        let presumed = Held::Presumed(10.into());
        assert_eq!(entries(3, presumed), [("adjustment", -7)]);
        assert_eq!(entries(12, presumed), [("adjustment", 2)]);
        assert_eq!(entries(10, presumed), []);
        let less = Settlement::of(3.into(), presumed);
        assert_eq!(
            (less.spent, less.released, less.held),
            ((-7).into(), 7.into(), Decimal::ZERO)
        );
        assert!(less.is_late() && less.replaces_presumed());
    }

    #[test]
    fn what_closes_a_hold_adds_up_to_it_and_what_is_spent_to_the_cost() {
        for cost in 0..=12 {
            for before in [Held::GivenBack, open(0), open(5), open(10)] {
                let of_hold = Settlement::of(cost.into(), before);
                assert_eq!(of_hold.settled + of_hold.released, of_hold.held);
                assert_eq!(of_hold.settled + of_hold.overage, of_hold.cost);
                assert_eq!(of_hold.spent, of_hold.cost);
            }
        }
    }
}
