//! Which service of a chain is billed, or why none is.

use rust_decimal::Decimal;

use crate::candidate::{Budget, Candidate, remaining, tightest};
use crate::cost::Cost;
use crate::price::{PriceError, Prices, Usage};
use crate::status::BudgetScope;

/// Why a service is not billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    Suspended,
    Disabled,
    /// Its provider asked to be left alone for a while.
    Deferred,
    BudgetExceeded,
    /// The budget of an agent, task, run or user.
    BudgetOfScopeExceeded(BudgetScope),
    PriceUnknown(String),
    /// By the setting that limits what an agent may have set aside at once.
    TooMuchHeld,
}

impl Reason {
    /// Stable: made for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Suspended => "service_suspended",
            Reason::Disabled => "service_disabled",
            Reason::Deferred => "service_deferred",
            Reason::BudgetExceeded | Reason::BudgetOfScopeExceeded(_) => "budget_exceeded",
            Reason::PriceUnknown(_) => "price_unknown",
            Reason::TooMuchHeld => "too_much_held",
        }
    }

    /// Made for people.
    pub fn text(&self) -> String {
        match self {
            Reason::Suspended => "service is suspended".to_owned(),
            Reason::Disabled => "service is disabled".to_owned(),
            Reason::Deferred => "service is deferred: its provider asked to wait".to_owned(),
            Reason::BudgetExceeded => "budget exceeded".to_owned(),
            Reason::BudgetOfScopeExceeded(scope) => format!("budget of the {scope} exceeded"),
            Reason::PriceUnknown(unit) => {
                format!("price unknown: the service has no price for unit {unit}")
            }
            Reason::TooMuchHeld => "the agent has too much set aside already".to_owned(),
        }
    }

    /// Whether a smaller amount would be admitted.
    fn is_for_want_of_money(&self) -> bool {
        matches!(
            self,
            Reason::BudgetExceeded | Reason::BudgetOfScopeExceeded(_)
        )
    }
}

impl From<PriceError> for Reason {
    fn from(error: PriceError) -> Self {
        match error {
            PriceError::UnknownUnit(unit) => Reason::PriceUnknown(unit),
            // Too much for any budget.
            _ => Reason::BudgetExceeded,
        }
    }
}

/// A service that can be billed.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its place in the chain.
    pub index: usize,
    pub amount: Decimal,
    pub prices: Option<Prices>,
    /// Why the service that was asked for is not billed itself.
    pub instead_because: Option<Reason>,
}

/// Nobody in the chain can be billed.
#[derive(Debug, Clone)]
pub struct Refusal<Id> {
    /// Of the service that was asked for.
    pub reason: Reason,
    /// The budget that refused, when it was not the service's own.
    pub budget_id: Option<Id>,
    pub scope: BudgetScope,
    /// What it would have cost with the service that was asked for.
    pub needed: Decimal,
    /// The most that any service of the chain could be charged now.
    pub remaining: Decimal,
    /// How much usage that would be.
    pub affordable: Option<Usage>,
}

/// What a chain can be asked.
#[derive(Debug)]
pub enum Choice<Id> {
    Bill(Offer),
    Refuse(Refusal<Id>),
}

/// Goes through the chain and takes the first service that is in service and can pay. A price that
/// the service that was asked for does not have refuses at once; a substitute without that price is
/// passed over.
pub fn choose<Id: Copy>(
    candidates: &[Candidate<Id>],
    cost: &Cost,
    budgets: &[Budget<Id>],
    prices_of: &dyn Fn(Id) -> Option<Prices>,
) -> Choice<Id> {
    let mut refusal: Option<Refusal<Id>> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        let prices = prices_of(candidate.id);
        let look = Look {
            candidate,
            cost,
            budgets,
            prices: prices.as_ref(),
        };
        match look.judge() {
            Ok(amount) => {
                let instead_because = refusal.map(|refusal| refusal.reason);
                return Choice::Bill(Offer {
                    index,
                    amount,
                    prices,
                    instead_because,
                });
            }
            Err(reason) => {
                let is_final = index == 0 && matches!(reason, Reason::PriceUnknown(_));
                refusal = Some(look.refusal(reason, refusal));
                if is_final {
                    break;
                }
            }
        }
    }
    Choice::Refuse(refusal.expect("a chain has a first service"))
}

/// One look at one service.
struct Look<'a, Id> {
    candidate: &'a Candidate<Id>,
    cost: &'a Cost,
    budgets: &'a [Budget<Id>],
    prices: Option<&'a Prices>,
}

impl<Id: Copy> Look<'_, Id> {
    /// What would be charged, or why it cannot be.
    fn judge(&self) -> Result<Decimal, Reason> {
        let amount = self.cost.at(self.prices)?;
        if self.candidate.is_disabled() {
            return Err(Reason::Disabled);
        }
        // What is free stays free at a spent limit.
        if self.candidate.is_suspended() && !amount.is_zero() {
            return Err(Reason::Suspended);
        }
        if self.candidate.is_deferred() {
            return Err(Reason::Deferred);
        }
        if self
            .candidate
            .room()
            .is_some_and(|room| is_over(amount, room))
        {
            return Err(Reason::BudgetExceeded);
        }
        match tightest(self.budgets) {
            Some((budget, room)) if is_over(amount, room) => {
                Err(Reason::BudgetOfScopeExceeded(budget.scope))
            }
            _ => Ok(amount),
        }
    }

    /// Adds this service's refusal to that of the ones before it: theirs is the reason, the best of
    /// all is what remains.
    fn refusal(&self, reason: Reason, before: Option<Refusal<Id>>) -> Refusal<Id> {
        let (remaining, affordable) = self.remaining(&reason);
        match before {
            Some(before) if before.remaining >= remaining => before,
            Some(before) => Refusal {
                remaining,
                affordable,
                ..before
            },
            None => Refusal {
                budget_id: self.budget_id(&reason),
                scope: scope(&reason),
                needed: self.cost.at(self.prices).unwrap_or_default(),
                reason,
                remaining,
                affordable,
            },
        }
    }

    /// Nothing where no amount would be admitted; else what is left, and the usage that it buys.
    fn remaining(&self, reason: &Reason) -> (Decimal, Option<Usage>) {
        if !reason.is_for_want_of_money() {
            return (Decimal::ZERO, None);
        }
        let remaining = remaining(self.candidate.room(), self.budgets).unwrap_or_default();
        let affordable = self
            .prices
            .and_then(|prices| prices.affordable(self.cost.usage(), remaining));
        (remaining, affordable)
    }

    fn budget_id(&self, reason: &Reason) -> Option<Id> {
        let is_scope = matches!(reason, Reason::BudgetOfScopeExceeded(_));
        tightest(self.budgets)
            .filter(|_| is_scope)
            .map(|(budget, _)| budget.id)
    }
}

/// What costs nothing is never too much, also for a limit that is overdrawn.
fn is_over(amount: Decimal, room: Decimal) -> bool {
    amount > room.max(Decimal::ZERO)
}

fn scope(reason: &Reason) -> BudgetScope {
    match reason {
        Reason::BudgetOfScopeExceeded(scope) => *scope,
        _ => BudgetScope::Service,
    }
}

#[cfg(test)]
mod tests;
