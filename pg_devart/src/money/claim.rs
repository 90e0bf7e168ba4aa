//! Budget inside the claim: a task with a service and an estimate is handed out only with its money
//! set aside.

use devart_core::cost::Cost;
use pgrx::JsonB;
use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::answer;
use super::gate::{Ask, Purpose, Verdict};
use super::payer::Payer;
use super::reserve::{self, Terms};
use crate::pg::spi::{Session, statement};
use crate::pg::subtransaction;

/// How long the money stays set aside once nobody keeps the lease alive; while somebody does, it
/// stays for longer.
const TTL_SECONDS: f64 = 600.0;

statement!(
    ADOPT,
    include_str!("adopt.sql"),
    [UUIDOID, UUIDOID, INT4OID, FLOAT8OID]
);
statement!(START, include_str!("start_costly.sql"), [UUIDOID]);
statement!(GIVE_BACK, include_str!("give_back.sql"), [UUIDOID]);
statement!(
    PARK,
    "select devart_private.park_task($1, $2, $3, true)",
    [UUIDOID, UUIDOID, JSONBOID]
);

/// A picked task that costs money. It is locked, has its lease, and is still TODO.
pub struct CostlyTask {
    pub task_id: Uuid,
    pub service_id: Uuid,
    pub attempt: i32,
    pub estimate: Decimal,
}

/// What became of a picked task.
pub enum Outcome {
    /// IN_PROGRESS; its money is set aside under this hold.
    Started(Uuid),
    /// Waits for money or for a person, outside of the queue.
    Parked,
    /// Back in the queue as it was: another agent can have it, as it is this one's budget that
    /// refuses, or another moment, as somebody has locked what must be locked and this claim holds
    /// money already.
    GivenBack,
}

impl CostlyTask {
    /// Sets the money aside and starts the task, or lets it wait. `patient` false: never waits for
    /// a lock, as a transaction that holds money already must not, lest two of them wait for each
    /// other.
    pub fn start(&self, session: &Session, agent_id: Uuid, patient: bool) -> Outcome {
        let hold_id = match self.adopt(session, agent_id) {
            Some(granted) => Ok(granted),
            None => self.hold(session, agent_id, patient),
        };
        match hold_id {
            Ok(hold_id) => {
                START.with(|statement| statement.rows(session, &[self.task_id.into()]).len());
                Outcome::Started(hold_id)
            }
            Err(Some(refusal)) if refusal["scope"] != "agent" => {
                self.park(session, agent_id, refusal);
                Outcome::Parked
            }
            Err(_) => {
                GIVE_BACK.with(|statement| statement.rows(session, &[self.task_id.into()]).len());
                Outcome::GivenBack
            }
        }
    }

    /// The hold that people granted this task, if they did.
    fn adopt(&self, session: &Session, agent_id: Uuid) -> Option<Uuid> {
        ADOPT.with(|statement| {
            let arguments = [
                self.task_id.into(),
                agent_id.into(),
                self.attempt.into(),
                TTL_SECONDS.into(),
            ];
            let rows = statement.rows(session, &arguments);
            rows.first().map(|row| row.required(1))
        })
    }

    /// A new hold; or the refusal, with none of its locks left; or nothing when a lock could not be
    /// had at once.
    fn hold(
        &self,
        session: &Session,
        agent_id: Uuid,
        patient: bool,
    ) -> Result<Uuid, Option<serde_json::Value>> {
        let cost = Cost::of_amount(self.estimate);
        let payer = Payer {
            agent_id: Some(agent_id),
            task_id: Some(self.task_id),
            attempt: Some(self.attempt),
        };
        let ask = Ask {
            session,
            service_id: self.service_id,
            cost: &cost,
            payer,
            purpose: Purpose::Hold,
            with_prices: false,
            patient,
        };
        let mut refusal = None;
        let held = subtransaction::keep_if_some(|| match ask.decide() {
            Ok(Verdict::Admitted(admission)) => {
                let terms = Terms {
                    ttl_seconds: TTL_SECONDS,
                    follows_lease: true,
                    idempotency_key: None,
                };
                Some(reserve::hold(&ask, &admission, terms).0)
            }
            Ok(Verdict::Refused(refused)) => {
                refusal = Some(answer::not_admitted(&refused));
                None
            }
            // A task's service exists: its foreign key says so.
            Ok(Verdict::Busy) | Err(_) => None,
        });
        held.ok_or(refusal)
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
