//! Charging a cost that is already known.
//!
//! Lock order: services along the substitute chain, which has no cycles.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::caller;
use crate::error::Error;
use crate::raw_json::RawJsonb;
use crate::spi::{self, Session, statement};

/// A substitute of a substitute, and so on, is followed this far (design/budgets.md, rule 8).
const MAX_SUBSTITUTES: usize = 5;

statement!(
    LOCK_SERVICE,
    include_str!("lock_service.sql"),
    [UUIDOID, NUMERICOID]
);
statement!(
    EARLIER_CHARGE,
    include_str!("earlier_charge.sql"),
    [TEXTOID, NUMERICOID, UUIDOID, UUIDOID]
);
statement!(
    CHARGE,
    include_str!("charge.sql"),
    [UUIDOID, NUMERICOID, UUIDOID, TEXTOID, UUIDOID, UUIDOID]
);
statement!(REFUSAL, include_str!("refusal.sql"), [UUIDOID, TEXTOID]);
statement!(ALERT, include_str!("alert.sql"), [UUIDOID]);
statement!(
    HOLDS_TASK,
    "select from devart.tasks t where t.id = $1 and t.agent_id = $2 and t.status = 'IN_PROGRESS'",
    [UUIDOID, UUIDOID]
);

/// One request to charge.
struct Request {
    service_id: Uuid,
    amount_usd: AnyNumeric,
    task_id: Option<Uuid>,
    idempotency_key: Option<String>,
    agent_id: Option<Uuid>,
}

/// Charges `amount_usd` (US dollars, rounded to six decimals) to the service, or to its substitute
/// when the service is suspended, disabled or its hard limit would be crossed.
///
/// Answers success, charged_service_id, delegated, suspended, spent_usd, remaining_usd (null: no
/// limit), reason. A refusal is an answer with success false, not an error: an error would roll
/// back a suspension. The same `idempotency_key` charges once.
/// Errors: P0002 no such service, 42501 the task is not the calling agent's, 22023 negative amount,
/// 23505 the key was used for another charge.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn charge_service(
    service_id: Uuid,
    amount_usd: AnyNumeric,
    task_id: default!(Option<Uuid>, "NULL"),
    idempotency_key: default!(Option<String>, "NULL"),
) -> Result<RawJsonb, ErrorReport> {
    if amount_usd.is_nan() || amount_usd < AnyNumeric::from(0) {
        return Err(Error::InvalidArgument("amount_usd must not be negative".to_owned()).into());
    }
    let agent_id = caller::calling_agent()?;
    let request = Request {
        service_id,
        amount_usd,
        task_id,
        idempotency_key,
        agent_id,
    };
    Ok(spi::connect(|session| {
        request.check_task(session)?;
        request.charge(session)
    })?)
}

/// What became of a look at one service of the chain.
enum Candidate {
    Chargeable,
    Next(Option<Uuid>, &'static str),
}

impl Request {
    /// An agent may charge for a task only while it works on it.
    fn check_task(&self, session: &Session) -> Result<(), Error> {
        let (Some(agent_id), Some(task_id)) = (self.agent_id, self.task_id) else {
            return Ok(());
        };
        let held = HOLDS_TASK.with(|statement| {
            !statement
                .rows(session, &[task_id.into(), agent_id.into()])
                .is_empty()
        });
        held.then_some(()).ok_or(Error::Forbidden(
            "the agent does not work on the task it charges for",
        ))
    }

    fn charge(&self, session: &Session) -> Result<RawJsonb, Error> {
        let mut service_id = self.service_id;
        let mut first_reason = None;
        for step in 0..=MAX_SUBSTITUTES {
            let candidate = self.lock(session, service_id)?;
            // Only now: requests with the same key wait for each other at the first lock.
            if step == 0
                && let Some(answer) = self.earlier_answer(session)?
            {
                return Ok(answer);
            }
            match candidate {
                Candidate::Chargeable => return Ok(self.bill(session, service_id)),
                Candidate::Next(substitute, reason) => {
                    first_reason.get_or_insert(reason);
                    let Some(substitute) = substitute else { break };
                    service_id = substitute;
                }
            }
        }
        Ok(self.refuse(session, first_reason.unwrap_or("budget exceeded")))
    }

    fn lock(&self, session: &Session, service_id: Uuid) -> Result<Candidate, Error> {
        LOCK_SERVICE.with(|statement| {
            let rows = statement.rows(
                session,
                &[service_id.into(), self.amount_usd.clone().into()],
            );
            let row = rows.first().ok_or_else(|| {
                Error::NotFound(format!("service_id names no service: {service_id}"))
            })?;
            let (status, affordable): (String, bool) = (row.required(1), row.required(3));
            Ok(match status.as_str() {
                "SUSPENDED" => Candidate::Next(row.get(2), "service is suspended"),
                "DISABLED" => Candidate::Next(row.get(2), "service is disabled"),
                _ if affordable => Candidate::Chargeable,
                _ => Candidate::Next(row.get(2), "budget exceeded"),
            })
        })
    }

    fn earlier_answer(&self, session: &Session) -> Result<Option<RawJsonb>, Error> {
        let Some(key) = &self.idempotency_key else {
            return Ok(None);
        };
        EARLIER_CHARGE.with(|statement| {
            let arguments = [
                key.clone().into(),
                self.amount_usd.clone().into(),
                self.service_id.into(),
                self.task_id.into(),
            ];
            let rows = statement.rows(session, &arguments);
            match rows.first() {
                Some(row) if row.required(1) => Ok(row.get(2)),
                Some(_) => Err(Error::Duplicate(
                    "idempotency_key was used for another charge",
                )),
                None => Ok(None),
            }
        })
    }

    fn bill(&self, session: &Session, service_id: Uuid) -> RawJsonb {
        let delegated_from = (service_id != self.service_id).then_some(self.service_id);
        let (answer, suspended) = CHARGE.with(|statement| {
            let arguments = [
                service_id.into(),
                self.amount_usd.clone().into(),
                self.task_id.into(),
                self.idempotency_key.clone().into(),
                delegated_from.into(),
                self.agent_id.into(),
            ];
            let rows = statement.rows(session, &arguments);
            let row = rows.first().expect("the service is locked");
            (row.required(1), row.required(2))
        });
        if suspended {
            ALERT.with(|statement| statement.rows(session, &[service_id.into()]));
        }
        answer
    }

    fn refuse(&self, session: &Session, reason: &str) -> RawJsonb {
        REFUSAL.with(|statement| {
            let rows = statement.rows(session, &[self.service_id.into(), reason.into()]);
            rows.first().expect("the service is locked").required(1)
        })
    }
}
