//! The gate: admits or refuses before anything is spent, and takes the money in the same step.
//!
//! It tries three ways, the cheap ones first:
//! 1. `take_at_once`: one conditional update, when no budget but the service's applies and nothing
//!    can stand in for it.
//! 2. `take_unlocked`: looks at the chain without locking it and updates the one service that it
//!    chose, on condition.
//! 3. `take_locked`: locks the whole chain in id order, opens windows, gives back due holds, and
//!    then decides for good.
//!
//! The second runs in a subtransaction, since a failed condition can leave the row locked, and a
//! chain's other rows may come before it in the order of locks.

use devart_core::candidate::remaining;
use devart_core::choice::{self, Choice, Offer, Reason};
use devart_core::cost::Cost;
use devart_core::price::Prices;
use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::budgets::{Budgets, HeldLimit};
use super::candidate::{self, Candidate};
use super::held_limit;
use super::payer::Payer;
use super::prices;
use super::take::{self, Deltas, Taken};
use crate::error::Error;
use crate::pg::spi::{Session, statement};
use crate::pg::subtransaction;
use crate::stops::{self, Stop, Work};

statement!(
    LOCK,
    "select devart_private.lock_services($1, $2)",
    [UUIDARRAYOID, BOOLOID]
);
statement!(
    EXPIRE,
    "select devart_private.expire_holds_of($1, $2)",
    [UUIDARRAYOID, UUIDARRAYOID]
);
statement!(
    ANY_DUE,
    "select from devart.holds h
     where h.status = 'HELD' and not h.dispatched and h.expires_at <= now() limit 1",
    []
);

/// What the money is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Spend,
    /// For a call that is about to be made.
    Hold,
    /// For a task that is to be claimed later.
    Promise,
}

impl Purpose {
    /// Whether a service that is deferred refuses it: a call, but not money that is spent already,
    /// or that nothing is bought with yet.
    fn waits_for_the_provider(self) -> bool {
        self == Purpose::Hold
    }
}

/// A request for money.
pub struct Ask<'a> {
    pub session: &'a Session,
    pub service_id: Uuid,
    pub cost: &'a Cost,
    pub payer: Payer,
    pub purpose: Purpose,
    /// Whether the prices of the billed service are wanted although the cost needs none.
    pub with_prices: bool,
    /// False: answers [`Verdict::Busy`] instead of waiting for a lock.
    pub patient: bool,
}

/// The money is taken.
pub struct Admission {
    /// The service that is billed.
    pub service_id: Uuid,
    pub window_id: Uuid,
    pub amount: Decimal,
    pub budgets: Budgets,
    pub delegated_from: Option<Uuid>,
    /// Why another service than the one that was asked for is billed.
    pub reason: Option<Reason>,
    pub spent: Decimal,
    /// What is left of the tightest hard limit; `None` without one.
    pub remaining: Option<Decimal>,
    pub suspended: bool,
    pub prices: Option<Prices>,
}

/// What the gate says.
pub enum Verdict {
    Admitted(Admission),
    Refused(Refused),
    /// By people, whatever the money.
    Stopped(Stop),
    /// Only for those who are not patient.
    Busy,
}

/// Why nobody can be billed.
pub type Refusal = choice::Refusal<Uuid>;

/// Nothing is taken.
pub struct Refused {
    pub refusal: Refusal,
    /// How the service stands that was asked for.
    pub asked: Candidate,
}

impl Ask<'_> {
    /// Decides, and takes the money if it admits.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such service.
    pub fn decide(&self) -> Result<Verdict, Error> {
        if let Some(stop) = stops::refusal(self.payer.work(self.service_id)) {
            return Ok(Verdict::Stopped(stop));
        }
        let limits_held = self.purpose == Purpose::Hold && held_limit::is_set(self.session);
        if !limits_held && let Some(admission) = self.take_at_once() {
            return Ok(Verdict::Admitted(admission));
        }
        if limits_held && !held_limit::lock(self.session, self.payer.agent_id, self.patient) {
            return Ok(Verdict::Busy);
        }
        let Some(mut budgets) = Budgets::lock(self.session, &self.payer, self.patient) else {
            return Ok(Verdict::Busy);
        };
        budgets.held = self.held_limit();
        let candidates = self.chain()?;
        match self.choose(&candidates, &budgets) {
            Choice::Bill(offer) if offer.index == 0 || !self.may_change(&candidates) => {
                if let Some(admission) = self.take_unlocked(&candidates, offer, &budgets) {
                    return Ok(Verdict::Admitted(admission));
                }
            }
            Choice::Refuse(refusal) if !self.may_change(&candidates) => {
                return Ok(refused(refusal, &candidates, &budgets));
            }
            _ => (),
        }
        self.take_locked(&candidates, budgets)
    }

    fn take_at_once(&self) -> Option<Admission> {
        let prices = self.prices_of(self.service_id);
        let amount = self
            .cost
            .at(prices.as_ref())
            .ok()
            .filter(|_| self.patient)?;
        let taken = self.take(self.service_id, amount, false)?;
        let offer = Offer {
            index: 0,
            amount,
            prices,
            instead_because: None,
        };
        Some(self.admission(self.service_id, offer, taken, Budgets::default()))
    }

    fn take_unlocked(
        &self,
        candidates: &[Candidate],
        offer: Offer,
        budgets: &Budgets,
    ) -> Option<Admission> {
        let candidate = &candidates[offer.index];
        let spent = self.deltas(offer.amount).spent;
        if !self.patient || !candidate.is_calm(spent) {
            return None;
        }
        let take = || self.take(candidate.id, offer.amount, true);
        let taken = match candidates.len() {
            1 => take(),
            _ => subtransaction::keep_if_some(take),
        }?;
        Some(self.admission(candidate.id, offer, taken, budgets.clone()))
    }

    fn take_locked(&self, candidates: &[Candidate], budgets: Budgets) -> Result<Verdict, Error> {
        let ids: Vec<Uuid> = candidates.iter().map(|candidate| candidate.id).collect();
        let locked = LOCK.with(|statement| {
            statement
                .rows(self.session, &[ids.clone().into(), self.patient.into()])
                .len()
        });
        if locked < ids.len() && !self.patient {
            return Ok(Verdict::Busy);
        }
        if self.patient {
            EXPIRE.with(|statement| {
                statement
                    .rows(self.session, &[ids.into(), budgets.ids().into()])
                    .len()
            });
        }
        let candidates = self.chain()?;
        let budgets = Budgets {
            held: self.held_limit(),
            ..budgets.again(self.session)
        };
        Ok(match self.choose(&candidates, &budgets) {
            Choice::Refuse(refusal) => refused(refusal, &candidates, &budgets),
            Choice::Bill(offer) => {
                let service_id = candidates[offer.index].id;
                let deltas = self.deltas(offer.amount);
                let taken = take::for_sure(self.session, service_id, deltas);
                Verdict::Admitted(self.admission(service_id, offer, taken, budgets))
            }
        })
    }

    /// The services that could be billed, as they stand for this purpose: without substitutes that
    /// are paused.
    fn chain(&self) -> Result<Vec<Candidate>, Error> {
        let mut chain = candidate::chain(self.session, self.service_id)?;
        let stops = stops::current();
        chain.retain(|candidate| {
            let service = Some(candidate.id);
            let work = Work {
                service,
                ..Work::default()
            };
            candidate.id == self.service_id || stops.refuses(&work).is_none()
        });
        if !self.purpose.waits_for_the_provider() {
            for candidate in &mut chain {
                candidate.deferred_until = None;
            }
        }
        Ok(chain)
    }

    fn choose(&self, candidates: &[Candidate], budgets: &Budgets) -> Choice<Uuid> {
        let prices_of = |service_id| self.prices_of(service_id);
        choice::choose(candidates, self.cost, &budgets.all(), &prices_of)
    }

    /// What the agent may have set aside at once, when that is limited and this is for a hold.
    fn held_limit(&self) -> Option<HeldLimit> {
        match self.purpose {
            Purpose::Hold => held_limit::of(self.session, self.payer.agent_id),
            Purpose::Spend | Purpose::Promise => None,
        }
    }

    fn prices_of(&self, service_id: Uuid) -> Option<Prices> {
        let wanted = self.with_prices || self.cost.needs_prices();
        wanted.then(|| prices::of(self.session, service_id, None))?
    }

    /// Whether a refusal, by all or by the first of the chain, may be another one with the locks:
    /// where a window can be opened or a hold given back.
    fn may_change(&self, candidates: &[Candidate]) -> bool {
        let window_ended = candidates.iter().any(|candidate| candidate.window_ended);
        let any_due = || ANY_DUE.with(|statement| !statement.rows(self.session, &[]).is_empty());
        window_ended || (self.patient && any_due())
    }

    /// What the request adds to spent and to held.
    fn deltas(&self, amount: Decimal) -> Deltas {
        let zero = Decimal::ZERO;
        let (spent, held) = match self.purpose {
            Purpose::Spend => (amount, zero),
            Purpose::Hold | Purpose::Promise => (zero, amount),
        };
        Deltas { spent, held }
    }

    /// `looked`: budgets and substitutes are seen to.
    fn take(&self, service_id: Uuid, amount: Decimal, looked: bool) -> Option<Taken> {
        let deltas = self.deltas(amount);
        let waits = self.purpose.waits_for_the_provider();
        take::on_condition(self.session, service_id, deltas, &self.payer, looked, waits)
    }

    fn admission(
        &self,
        service_id: Uuid,
        offer: Offer,
        taken: Taken,
        budgets: Budgets,
    ) -> Admission {
        budgets.take(self.session, self.deltas(offer.amount));
        let budgets = budgets.after(offer.amount);
        if service_id != self.service_id {
            stops::began_unasked(self.payer.work(service_id));
        }
        Admission {
            service_id,
            window_id: taken.window_id,
            amount: offer.amount,
            delegated_from: (service_id != self.service_id).then_some(self.service_id),
            reason: offer.instead_because,
            spent: taken.spent,
            remaining: remaining(taken.room, &budgets.all()),
            suspended: taken.suspended,
            prices: offer.prices,
            budgets,
        }
    }
}

fn refused(mut refusal: Refusal, candidates: &[Candidate], budgets: &Budgets) -> Verdict {
    let held = budgets.held.as_ref().map(|held| held.id);
    if held.is_some() && refusal.budget_id == held {
        refusal.reason = Reason::TooMuchHeld;
    }
    Verdict::Refused(Refused {
        refusal,
        asked: candidates[0].clone(),
    })
}
