//! What callers are told, as JSON. Money keeps all of its digits.

use devart_core::choice::Reason;
use devart_core::cost::Cost;
use devart_core::price::{Usage, number};
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::gate::{Admission, Refused};
use crate::stops::Stop;

/// Money, or null for none.
pub fn usd(amount: Option<Decimal>) -> Value {
    amount.map_or(Value::Null, |mut amount| {
        amount.rescale(devart_core::usd::USD_SCALE);
        number(amount)
    })
}

/// An id, or null.
pub fn id(id: Option<Uuid>) -> Value {
    id.map_or(Value::Null, |id| Value::String(id.to_string()))
}

fn reason(reason: Option<&Reason>) -> Value {
    reason.map_or(Value::Null, |reason| Value::String(reason.text()))
}

/// A moment, as RFC 3339 has it.
pub fn moment(at: TimestampWithTimeZone) -> Value {
    Value::String(at.to_iso_string())
}

/// A charge that was made.
pub fn charged(admission: &Admission) -> Value {
    json!({
        "success": true,
        "charged_service_id": id(Some(admission.service_id)),
        "delegated": admission.delegated_from.is_some(),
        "suspended": admission.suspended,
        "spent_usd": usd(Some(admission.spent)),
        "remaining_usd": usd(admission.remaining),
        "reason": reason(admission.reason.as_ref()),
    })
}

/// A charge that was refused.
pub fn not_charged(refused: &Refused) -> Value {
    json!({
        "success": false,
        "charged_service_id": null,
        "delegated": false,
        "suspended": refused.asked.is_suspended(),
        "spent_usd": usd(Some(refused.asked.spent)),
        "remaining_usd": usd(Some(refused.refusal.remaining)),
        "reason": refused.refusal.reason.text(),
        "code": refused.refusal.reason.code(),
    })
}

/// A hold that was made.
pub fn admitted(
    admission: &Admission,
    cost: &Cost,
    hold_id: Uuid,
    expires_at: TimestampWithTimeZone,
) -> Value {
    let affordable = admission.remaining.and_then(|remaining| {
        admission
            .prices
            .as_ref()?
            .affordable(cost.usage(), remaining)
    });
    json!({
        "admitted": true,
        "hold_id": id(Some(hold_id)),
        "service_id": id(Some(admission.service_id)),
        "delegated_from": id(admission.delegated_from),
        "held_usd": usd(Some(admission.amount)),
        "reason": reason(admission.reason.as_ref()),
        "code": admission.reason.as_ref().map(Reason::code),
        "remaining_usd": usd(admission.remaining),
        "max_affordable_units": affordable.as_ref().map(Usage::to_json),
        "expires_at": moment(expires_at),
    })
}

/// Until when the service that was asked for is deferred, when that is why.
fn deferred_until(refused: &Refused) -> Option<TimestampWithTimeZone> {
    let until = refused.asked.deferred_until?;
    (refused.refusal.reason == Reason::Deferred)
        .then(|| until.try_into().expect("it was a timestamp"))
}

/// A hold that was refused since nobody knows what it would cost.
pub fn no_estimate(service_id: Uuid) -> Value {
    json!({
        "admitted": false,
        "hold_id": null,
        "service_id": null,
        "delegated_from": null,
        "reason": "no estimate: give estimate_usd or usage; the service has no history and no floor",
        "code": "no_estimate",
        "scope": "service",
        "scope_id": id(Some(service_id)),
        "needed_usd": null,
        "remaining_usd": null,
        "max_affordable_units": null,
        "expires_at": null,
        "deferred_until": null,
    })
}

/// A hold that was refused. `scope_id`: what refused, a service or a budget.
pub fn not_admitted(refused: &Refused) -> Value {
    let refusal = &refused.refusal;
    json!({
        "admitted": false,
        "hold_id": null,
        "service_id": null,
        "delegated_from": null,
        "reason": refusal.reason.text(),
        "code": refusal.reason.code(),
        "scope": refusal.scope.as_str(),
        "scope_id": id(Some(refusal.budget_id.unwrap_or(refused.asked.id))),
        "needed_usd": usd(Some(refusal.needed)),
        "remaining_usd": usd(Some(refusal.remaining)),
        "max_affordable_units": refusal.affordable.as_ref().map(Usage::to_json),
        "expires_at": null,
        "deferred_until": deferred_until(refused).map(moment),
    })
}

/// A charge that people stopped.
pub fn charge_stopped(stop: &Stop) -> Value {
    json!({
        "success": false,
        "charged_service_id": null,
        "delegated": false,
        "suspended": false,
        "spent_usd": null,
        "remaining_usd": null,
        "reason": stop.text(),
        "code": stop.code(),
    })
}

/// A hold that people stopped.
pub fn stopped(stop: &Stop) -> Value {
    json!({
        "admitted": false,
        "hold_id": null,
        "service_id": null,
        "delegated_from": null,
        "reason": stop.text(),
        "code": stop.code(),
        "scope": stop.scope.as_str(),
        "scope_id": id(stop.scope_id),
        "needed_usd": null,
        "remaining_usd": null,
        "max_affordable_units": null,
        "expires_at": null,
    })
}
