//! Budget inside the claim: a task with a service and an estimate is handed out only with its money
//! set aside.

use devart_core::choice::Reason;
use devart_core::cost::Cost;
use pgrx::JsonB;
use pgrx::datum::Uuid;
use pgrx::prelude::AnyNumeric;
use rust_decimal::Decimal;

use super::gate::{Ask, Purpose, Verdict};
use super::payer::Payer;
use super::reserve::{self, Terms};
use super::{answer, usd};
use crate::pg::spi::{Session, statement};
use crate::pg::subtransaction::{self, Failure};

/// How long the money stays set aside once nobody keeps the lease alive; while somebody does, it
/// stays for longer.
const TTL_SECONDS: f64 = 600.0;

statement!(
    ADOPT,
    include_str!("adopt.sql"),
    [UUIDOID, UUIDOID, INT4OID, FLOAT8OID, UUIDOID, NUMERICOID]
);
statement!(START, include_str!("start_costly.sql"), [UUIDOID]);
statement!(DEFER, include_str!("defer.sql"), [UUIDOID, TEXTOID]);
statement!(GIVE_BACK, include_str!("give_back.sql"), [UUIDOID]);
statement!(
    PARK,
    "select devart_private.park_task($1, $2, $3, true)",
    [UUIDOID, UUIDOID, JSONBOID]
);

/// A picked task that costs money. It is locked, has its lease, and is still TODO.
pub struct CostlyTask<'a> {
    pub task_id: Uuid,
    pub service_id: Uuid,
    pub attempt: i32,
    pub estimate: &'a AnyNumeric,
}

/// What became of a picked task.
pub enum Outcome {
    /// IN_PROGRESS; its money is set aside under this hold.
    Started(Uuid),
    /// Waits for money, for a person or for the service's provider, outside of the queue.
    Parked,
    /// Back in the queue as it was: another agent can have it, as it is this one's budget that
    /// refuses, or another moment, as people stopped it, or as somebody has locked what must be
    /// locked and this claim holds money already.
    GivenBack,
}

impl CostlyTask<'_> {
    /// Sets the money aside and starts the task, or lets it wait. `patient` false: never waits for
    /// a lock, as a transaction that holds money already must not, lest two of them wait for each
    /// other.
    ///
    /// # Errors
    /// What is wrong with this task's money; nothing of the attempt stays.
    pub fn start(
        &self,
        session: &Session,
        agent_id: Uuid,
        patient: bool,
    ) -> Result<Outcome, Failure> {
        let estimate = usd::amount(self.estimate).ok_or_else(no_amount)?;
        let mut refusal = None;
        let hold_id = subtransaction::keep_unless_failed(|| {
            let granted = self.adopt(session, agent_id, estimate);
            let hold_id = granted.or_else(|| {
                let held = self.hold(session, agent_id, &Cost::of_amount(estimate), patient);
                held.map_err(|refused| refusal = refused).ok()
            })?;
            START.with(|statement| statement.rows(session, &[self.task_id.into()]).len());
            Some(hold_id)
        })?;
        match (hold_id, refusal) {
            (Some(hold_id), _) => Ok(Outcome::Started(hold_id)),
            (None, Some(refusal)) if refusal["code"] == Reason::Deferred.code() => {
                self.defer(session, &refusal);
                Ok(Outcome::Parked)
            }
            (None, Some(refusal)) if refusal["scope"] != "agent" => {
                subtransaction::keep_unless_failed(|| {
                    self.park(session, agent_id, refusal);
                    Some(())
                })?;
                Ok(Outcome::Parked)
            }
            (None, _) => {
                GIVE_BACK.with(|statement| statement.rows(session, &[self.task_id.into()]).len());
                Ok(Outcome::GivenBack)
            }
        }
    }

    /// The hold that people granted this task, if they did: for this service, and for as much.
    fn adopt(&self, session: &Session, agent_id: Uuid, estimate: Decimal) -> Option<Uuid> {
        ADOPT.with(|statement| {
            let arguments = [
                self.task_id.into(),
                agent_id.into(),
                self.attempt.into(),
                TTL_SECONDS.into(),
                self.service_id.into(),
                usd::datum(estimate).into(),
            ];
            let rows = statement.rows(session, &arguments);
            rows.first().map(|row| row.required(1))
        })
    }

    /// A new hold; or the refusal, after which none of its locks may be left; or nothing when a
    /// lock could not be had at once.
    fn hold(
        &self,
        session: &Session,
        agent_id: Uuid,
        cost: &Cost,
        patient: bool,
    ) -> Result<Uuid, Option<serde_json::Value>> {
        let payer = Payer {
            agent_id: Some(agent_id),
            task_id: Some(self.task_id),
            attempt: Some(self.attempt),
        };
        let ask = Ask {
            session,
            service_id: self.service_id,
            cost,
            payer,
            purpose: Purpose::Hold,
            with_prices: false,
            patient,
        };
        match ask.decide() {
            Ok(Verdict::Admitted(admission)) => {
                let terms = Terms {
                    ttl_seconds: TTL_SECONDS,
                    follows_lease: true,
                    dispatched: false,
                    idempotency_key: None,
                };
                Ok(reserve::hold(&ask, &admission, terms).0)
            }
            Ok(Verdict::Refused(refused)) => Err(Some(answer::not_admitted(&refused))),
            // A task's service exists: its foreign key says so.
            Ok(Verdict::Stopped(_) | Verdict::Busy) | Err(_) => Err(None),
        }
    }

    /// Lets it wait until the provider of its service serves again: there is nothing to ask people.
    fn defer(&self, session: &Session, refusal: &serde_json::Value) {
        let until = refusal["deferred_until"].as_str().map(ToOwned::to_owned);
        DEFER.with(|statement| {
            let arguments = [self.task_id.into(), until.into()];
            statement.rows(session, &arguments).len()
        });
    }

    fn park(&self, session: &Session, agent_id: Uuid, mut refusal: serde_json::Value) {
        refusal["service_id"] = answer::id(Some(self.service_id));
        PARK.with(|statement| {
            statement
                .rows(
                    session,
                    &[self.task_id.into(), agent_id.into(), JsonB(refusal).into()],
                )
                .len()
        });
    }
}

/// NaN, say, in a row from before amounts were checked.
fn no_amount() -> Failure {
    Failure {
        sqlstate: "22003".to_owned(),
        message: "estimated_cost_usd is no amount of money".to_owned(),
    }
}
