//! A service that could be billed, and the budgets that limit who bills it: how they stand.

use rust_decimal::Decimal;

use crate::status::{BudgetScope, ServiceState};

/// How a service stands: the one that was asked for, or one of its substitutes.
#[derive(Debug, Clone)]
pub struct Candidate<Id> {
    pub id: Id,
    pub status: ServiceState,
    pub spent: Decimal,
    pub held: Decimal,
    /// The limit, when it is hard.
    pub limit: Option<Decimal>,
    /// What may be spent until people must be told.
    pub next_alert: Option<Decimal>,
    /// The window of this moment is not open yet: nothing is spent of it.
    pub window_ended: bool,
    /// Its provider does not serve until then, in microseconds since 2000.
    pub deferred_until: Option<i64>,
}

impl<Id> Candidate<Id> {
    pub fn is_disabled(&self) -> bool {
        self.status == ServiceState::Disabled
    }

    /// Suspended in the window of this moment.
    pub fn is_suspended(&self) -> bool {
        self.status == ServiceState::Suspended && !self.window_ended
    }

    /// Put off until its provider serves again.
    pub fn is_deferred(&self) -> bool {
        self.deferred_until.is_some()
    }

    /// What is left of a hard limit; `None` without one.
    pub fn room(&self) -> Option<Decimal> {
        self.limit.map(|limit| {
            if self.window_ended {
                limit
            } else {
                limit - self.spent - self.held
            }
        })
    }

    /// Whether spending this much is only a matter of adding: no window to open, nobody to tell.
    pub fn is_calm(&self, spend: Decimal) -> bool {
        !self.window_ended
            && self
                .next_alert
                .is_none_or(|next_alert| self.spent + spend < next_alert)
    }
}

/// A limit beside the service's own, in its open window.
#[derive(Debug, Clone)]
pub struct Budget<Id> {
    pub id: Id,
    pub scope: BudgetScope,
    /// A soft limit refuses nothing.
    pub hard_limit: bool,
    pub limit: Decimal,
    /// Spent and held.
    pub used: Decimal,
}

impl<Id> Budget<Id> {
    /// What is left; `None` for a soft limit.
    fn room(&self) -> Option<Decimal> {
        self.hard_limit.then(|| self.limit - self.used)
    }
}

/// The hard limit with the least room, and that room.
pub fn tightest<Id>(budgets: &[Budget<Id>]) -> Option<(&Budget<Id>, Decimal)> {
    let rooms = budgets
        .iter()
        .filter_map(|budget| Some((budget, budget.room()?)));
    rooms.min_by_key(|(_, room)| *room)
}

/// The room of the tightest hard limit, at least zero; `None` without a hard limit.
pub fn remaining<Id>(room_of_service: Option<Decimal>, budgets: &[Budget<Id>]) -> Option<Decimal> {
    let room_of_budgets = tightest(budgets).map(|(_, room)| room);
    [room_of_service, room_of_budgets]
        .into_iter()
        .flatten()
        .min()
        .map(|room| room.max(Decimal::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(status: ServiceState, window_ended: bool) -> Candidate<()> {
        Candidate {
            id: (),
            status,
            spent: 6.into(),
            held: 3.into(),
            limit: Some(10.into()),
            next_alert: Some(8.into()),
            window_ended,
            deferred_until: None,
        }
    }

    fn budget(scope: BudgetScope, hard_limit: bool, used: i64) -> Budget<()> {
        Budget {
            id: (),
            scope,
            hard_limit,
            limit: 10.into(),
            used: used.into(),
        }
    }

    #[test]
    fn what_is_held_is_not_left_to_spend() {
        let room = candidate(ServiceState::Active, false).room();
        assert_eq!(room, Some(Decimal::ONE));
    }

    #[test]
    fn a_window_that_ended_leaves_the_whole_limit_and_no_suspension() {
        let next_day = candidate(ServiceState::Suspended, true);
        assert_eq!(next_day.room(), Some(10.into()));
        assert!(!next_day.is_suspended());
        assert!(candidate(ServiceState::Suspended, false).is_suspended());
    }

    #[test]
    fn a_disabled_service_stays_so_in_the_next_window() {
        assert!(candidate(ServiceState::Disabled, true).is_disabled());
    }

    #[test]
    fn spending_is_calm_until_the_threshold_is_reached() {
        let service = candidate(ServiceState::Active, false);
        assert!(service.is_calm(Decimal::ONE));
        assert!(!service.is_calm(2.into()), "reaching it is not");
        assert!(!candidate(ServiceState::Active, true).is_calm(Decimal::ZERO));
    }

    #[test]
    fn a_soft_limit_refuses_nothing_and_the_hard_one_with_the_least_room_is_the_tightest() {
        let budgets = [
            budget(BudgetScope::Agent, false, 20),
            budget(BudgetScope::Task, true, 4),
            budget(BudgetScope::User, true, 7),
        ];
        let (tightest, room) = tightest(&budgets).expect("two are hard");
        assert_eq!((tightest.scope, room), (BudgetScope::User, 3.into()));
    }

    #[test]
    fn an_overdrawn_limit_leaves_zero_and_no_limit_leaves_no_sum() {
        let overdrawn = [budget(BudgetScope::Run, true, 12)];
        assert_eq!(remaining(Some(5.into()), &overdrawn), Some(Decimal::ZERO));
        assert_eq!(remaining::<()>(None, &[]), None);
        assert_eq!(remaining::<()>(Some(5.into()), &[]), Some(5.into()));
    }
}
