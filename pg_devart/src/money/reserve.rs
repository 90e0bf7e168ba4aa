//! Reserving: money set aside before a call whose cost is only estimated.

use devart_core::cost::Cost;
use pgrx::JsonB;
use pgrx::datum::{Interval, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::gate::{Admission, Ask, Purpose, Verdict};
use super::ledger::{NewHold, Place};
use super::payer::Payer;
use super::{answer, candidate, cost, estimate, idempotency, usd};
use crate::caller;
use crate::error::{Error, given};
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Session, statement};
use crate::settings;
use crate::stops;

/// A hold must not outlive the process that made it by more than people would notice.
const MAX_TTL_SECONDS: f64 = 30.0 * 86_400.0;

statement!(
    GIVE_GRANTED_BACK,
    "select devart_private.free_granted_holds($1, $2, $3)",
    [UUIDOID, UUIDOID, UUIDOID]
);

/// How a hold is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub ttl_seconds: f64,
    /// Made by a claim, or for one.
    pub follows_lease: bool,
    /// Whether the call can go out at once. Else nothing was spent when its time is up.
    pub dispatched: bool,
    pub idempotency_key: Option<&'a str>,
}

/// Sets money aside for a call: `estimate_usd` US dollars, or what `usage` (units and quantities,
/// as in `{"input_token": 1200}`) costs at the prices in force; or, with neither, what such calls
/// of the task's kind cost lately (the 95th percentile of 30 days), at least the service's
/// `estimate_floor_usd`, and without both it refuses with the code no_estimate. Admits only what every hard limit
/// that applies has room for: the service's or, when it cannot pay, a substitute's; and the budgets
/// of the agent, the task, its run and its creator, and of what the task descends from. An agent
/// that names no task reserves for all that it has in hand: the budgets of all of them apply.
///
/// Answers admitted, hold_id, service_id (the one billed), delegated_from, held_usd, reason, code,
/// remaining_usd (null: no hard limit), max_affordable_units (with usage: this mix; else each unit
/// alone), expires_at. A refusal is such an answer, too, with scope, scope_id and needed_usd.
/// `lease_token`: must be the current lease of `task_id`. `ttl`: until when the hold lasts unless
/// it is settled or released, at most for the setting max_hold_seconds. Then what was held counts
/// as spent, since an agent that died after its call has spent it, and a settlement that comes late
/// corrects it; with `dispatched` false, until `mark_dispatched`, it is given back. The same
/// `idempotency_key` from the same caller is answered the same; a refusal is not remembered.
/// A service that is deferred (`defer_service`) refuses with the code service_deferred and says until
/// when (deferred_until), unless a substitute serves.
/// Errors: P0002 no such service, 42501 the task is not the calling agent's, 55P03 not the current
/// lease, 22023 an argument makes no sense, 23505 the key was used for another charge.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn reserve_charge(
    service_id: Option<Uuid>,
    estimate_usd: default!(Option<AnyNumeric>, "NULL"),
    usage: default!(Option<RawJsonb>, "NULL"),
    task_id: default!(Option<Uuid>, "NULL"),
    lease_token: default!(Option<Uuid>, "NULL"),
    idempotency_key: default!(Option<String>, "NULL"),
    ttl: default!(Option<Interval>, "'10 minutes'"),
    dispatched: default!(Option<bool>, "true"),
) -> Result<JsonB, ErrorReport> {
    let cost = cost::given("estimate_usd", estimate_usd, usage)?;
    let service_id = given("service_id", service_id)?;
    let ttl_seconds = check_ttl(&given("ttl", ttl)?)?;
    let dispatched = given("dispatched", dispatched)?;
    let agent = caller::calling_agent()?;
    let mut request = json!({
        "reserve": service_id.to_string(),
        "cost": cost.as_ref().map(Cost::to_json),
        "task_id": answer::id(task_id),
        "ttl_seconds": ttl_seconds,
    });
    // Only then: requests that were kept before there was a choice are the same request.
    if !dispatched {
        request["dispatched"] = false.into();
    }
    Ok(spi::connect(|session| {
        let payer = Payer::check(session, agent, task_id, lease_token)?;
        idempotency::once(session, agent, idempotency_key.clone(), request, || {
            if let Some(stop) = stops::refusal(payer.work(service_id)) {
                return Ok((answer::stopped(&stop), false));
            }
            let estimate = || estimate::of(session, service_id, task_id).map(Cost::of_amount);
            let Some(cost) = cost.or_else(estimate) else {
                candidate::chain(session, service_id)?;
                return Ok((answer::no_estimate(service_id), false));
            };
            give_granted_back(session, &payer, service_id);
            let ask = Ask {
                session,
                service_id,
                cost: &cost,
                payer,
                purpose: Purpose::Hold,
                with_prices: true,
                patient: true,
            };
            let longest = settings::current(session).max_hold_seconds;
            let terms = Terms {
                ttl_seconds: ttl_seconds.min(longest),
                follows_lease: false,
                dispatched,
                idempotency_key: idempotency_key.as_deref(),
            };
            reserve(&ask, terms)
        })
    })?)
}

/// What people granted the task with this service is what is asked for now.
fn give_granted_back(session: &Session, payer: &Payer, service_id: Uuid) {
    let Some(task_id) = payer.task_id else {
        return;
    };
    GIVE_GRANTED_BACK.with(|statement| {
        let arguments = [task_id.into(), payer.agent_id.into(), service_id.into()];
        statement.rows(session, &arguments).len()
    });
}

fn reserve(ask: &Ask, terms: Terms) -> Result<(Value, bool), Error> {
    match ask.decide()? {
        Verdict::Admitted(admission) => {
            let (hold_id, expires_at) = hold(ask, &admission, terms);
            Ok((
                answer::admitted(&admission, ask.cost, hold_id, expires_at),
                true,
            ))
        }
        Verdict::Refused(refused) => Ok((answer::not_admitted(&refused), false)),
        Verdict::Stopped(stop) => Ok((answer::stopped(&stop), false)),
        Verdict::Busy => unreachable!("a patient request waits"),
    }
}

/// Makes the hold for money that the gate has taken.
pub fn hold(ask: &Ask, admission: &Admission, terms: Terms) -> (Uuid, TimestampWithTimeZone) {
    let place = Place {
        service_id: admission.service_id,
        window_id: admission.window_id,
        budget_window_ids: &admission.budgets.window_ids,
        payer: &ask.payer,
        delegated_from: admission.delegated_from,
    };
    place.hold(
        ask.session,
        NewHold {
            amount: admission.amount,
            budget_ids: admission.budgets.ids(),
            usage: cost::usage_json(ask.cost),
            prices: admission
                .prices
                .as_ref()
                .map(|prices| JsonB(prices.to_json())),
            ttl_seconds: terms.ttl_seconds,
            follows_lease: terms.follows_lease,
            dispatched: terms.dispatched,
            idempotency_key: terms.idempotency_key,
        },
    )
}

fn check_ttl(ttl: &Interval) -> Result<f64, Error> {
    let seconds = ttl.as_micros() as f64 / 1e6;
    if seconds > 0.0 && seconds <= MAX_TTL_SECONDS {
        return Ok(seconds);
    }
    Err(Error::invalid(
        "ttl",
        "must be more than 0 and at most 30 days",
    ))
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// Sets `amount_usd` aside for the next claim of a task, as people approved. Answers as
    /// `reserve_charge`.
    #[pg_extern(volatile, parallel_unsafe)]
    fn hold_for_task(
        service_id: Uuid,
        amount_usd: AnyNumeric,
        agent_id: Option<Uuid>,
        task_id: Uuid,
        ttl: Interval,
    ) -> Result<JsonB, ErrorReport> {
        let cost = Cost::of_amount(usd::argument("amount_usd", &amount_usd)?);
        let terms = Terms {
            ttl_seconds: check_ttl(&ttl)?,
            follows_lease: true,
            dispatched: false,
            idempotency_key: None,
        };
        let payer = Payer {
            agent_id,
            task_id: Some(task_id),
            attempt: None,
        };
        Ok(spi::connect(|session| {
            let ask = Ask {
                session,
                service_id,
                cost: &cost,
                payer,
                purpose: Purpose::Promise,
                with_prices: false,
                patient: true,
            };
            reserve(&ask, terms).map(|(answer, _)| JsonB(answer))
        })?)
    }
}
