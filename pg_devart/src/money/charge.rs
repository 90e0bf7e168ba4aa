//! Charging a cost that is already known: hold and settle in one step.

use devart_core::cost::Cost;
use devart_core::status::ChargeKind;
use pgrx::JsonB;
use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::gate::{Admission, Ask, Purpose, Verdict};
use super::ledger::{Entry, Place};
use super::payer::Payer;
use super::{answer, idempotency, usd};
use crate::caller;
use crate::error::{Error, given};
use crate::pg::spi::{self, Session};

/// Charges `amount_usd` (US dollars, rounded to six decimals) to the service, or to a substitute
/// when the service is suspended, disabled or a hard limit would be crossed.
///
/// Answers success, charged_service_id, delegated, suspended, spent_usd, remaining_usd (null: no
/// hard limit), reason. An agent that names no task spends for all that it has in hand: the budgets
/// of all of them apply. A refusal is an answer with success false, not an error: an error would
/// roll back a suspension. The same `idempotency_key` from the same caller charges once and is
/// answered the same; a refusal is not remembered.
/// Errors: P0002 no such service, 42501 the task is not the calling agent's, 22023 no amount that
/// makes sense, 23505 the key was used for another charge.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn charge_service(
    service_id: Option<Uuid>,
    amount_usd: Option<AnyNumeric>,
    task_id: default!(Option<Uuid>, "NULL"),
    idempotency_key: default!(Option<String>, "NULL"),
) -> Result<JsonB, ErrorReport> {
    let service_id = given("service_id", service_id)?;
    let amount_usd = given("amount_usd", amount_usd)?;
    let cost = Cost::of_amount(usd::argument("amount_usd", &amount_usd)?);
    let agent = caller::calling_agent()?;
    Ok(spi::connect(|session| {
        let request = json!({
            "charge": service_id.to_string(),
            "cost": cost.to_json(),
            "task_id": answer::id(task_id),
        });
        let payer = Payer::check(session, agent, task_id, None)?;
        idempotency::once(session, agent, idempotency_key.clone(), request, || {
            charge(
                session,
                service_id,
                &cost,
                payer,
                idempotency_key.as_deref(),
            )
        })
    })?)
}

fn charge(
    session: &Session,
    service_id: Uuid,
    cost: &Cost,
    payer: Payer,
    key: Option<&str>,
) -> Result<(Value, bool), Error> {
    let ask = Ask {
        session,
        service_id,
        cost,
        payer,
        purpose: Purpose::Spend,
        with_prices: false,
        patient: true,
    };
    match ask.decide()? {
        Verdict::Admitted(admission) => {
            record(session, &admission, &payer, key);
            Ok((answer::charged(&admission), true))
        }
        Verdict::Refused(refused) => Ok((answer::not_charged(&refused), false)),
        Verdict::Stopped(stop) => Ok((answer::charge_stopped(&stop), false)),
        Verdict::Busy => unreachable!("a patient request waits"),
    }
}

fn record(session: &Session, admission: &Admission, payer: &Payer, key: Option<&str>) {
    let place = Place {
        service_id: admission.service_id,
        window_id: admission.window_id,
        budget_window_ids: &admission.budgets.window_ids,
        payer,
        delegated_from: admission.delegated_from,
    };
    place.record(
        session,
        Entry {
            kind: ChargeKind::Settle,
            amount: admission.amount,
            usage: None,
            hold_id: None,
            idempotency_key: key,
            correction: None,
        },
    );
}
