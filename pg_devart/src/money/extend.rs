//! Extending: an open hold is widened, for work that takes longer or costs more than was thought.

use devart_core::choice::Reason;
use devart_core::cost::Cost;
use devart_core::price::{Prices, Usage};
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, datum::DatumWithOid};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::hold::Hold;
use super::{answer, cost, idempotency, usd};
use crate::caller;
use crate::error::{Error, given};
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Row, Session, statement};
use crate::row_reader::RowReader;
use crate::stops::{self, Stop};

/// How long it lasts from now on unless the caller says so.
const TTL_SECONDS: i32 = 600;
const MAX_TTL_SECONDS: i32 = 30 * 86_400;

statement!(
    EXTEND,
    include_str!("extend_hold.sql"),
    [UUIDOID, NUMERICOID, JSONBOID, INT4OID]
);

/// Widens an open hold by `more_usd` US dollars or by what more `usage` costs at the prices that
/// were pinned on it, under the rules of a reservation, and lets it last for at least `ttl_seconds`
/// (600 when left out) from now. With only `ttl_seconds` it holds no more and lasts longer.
///
/// Answers as `reserve_charge` does: admitted, hold_id, service_id, delegated_from, held_usd (all
/// that is held now), reason, code, remaining_usd, max_affordable_units, expires_at. Refused, the
/// hold stays as it is; also with code `hold_over` (settled, released, or its time is up) and
/// `reserve_anew` (its window has ended, or a limit applies that it does not count in). The same
/// `idempotency_key` from the same caller widens once.
/// Errors: P0002 no such hold, 42501 another agent's, 22023 an argument makes no sense, 23505 the
/// key was used for another request.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn extend_charge(
    hold_id: Option<Uuid>,
    more_usd: default!(Option<AnyNumeric>, "NULL"),
    usage: default!(Option<RawJsonb>, "NULL"),
    ttl_seconds: default!(Option<i32>, "NULL"),
    idempotency_key: default!(Option<String>, "NULL"),
) -> Result<JsonB, ErrorReport> {
    let hold_id = given("hold_id", hold_id)?;
    let cost = more_cost(more_usd, usage, ttl_seconds)?;
    let ttl_seconds = check_ttl(ttl_seconds)?;
    let agent = caller::calling_agent()?;
    let request = json!({
        "extend": hold_id.to_string(),
        "cost": cost.to_json(),
        "ttl_seconds": ttl_seconds,
    });
    Ok(spi::connect(|session| {
        let hold = Hold::lock(session, hold_id, agent)?;
        idempotency::once(session, agent, idempotency_key, request, || {
            if let Some(stop) = stops::refusal(hold.payer.work(hold.service_id)) {
                return Ok((stopped(&hold, &stop), false));
            }
            Ok(extend(session, &hold, &cost, ttl_seconds))
        })
    })?)
}

fn more_cost(
    more_usd: Option<AnyNumeric>,
    usage: Option<RawJsonb>,
    ttl_seconds: Option<i32>,
) -> Result<Cost, Error> {
    match (&more_usd, &usage, ttl_seconds) {
        (None, None, None) => Err(Error::invalid(
            "more_usd",
            "or usage or ttl_seconds must be given",
        )),
        (None, None, Some(_)) => Ok(Cost::of_amount(Decimal::ZERO)),
        _ => cost::of_arguments("more_usd", more_usd, usage),
    }
}

fn check_ttl(ttl_seconds: Option<i32>) -> Result<i32, Error> {
    let ttl_seconds = ttl_seconds.unwrap_or(TTL_SECONDS);
    if (1..=MAX_TTL_SECONDS).contains(&ttl_seconds) {
        return Ok(ttl_seconds);
    }
    let range = "must be 1 to 2592000, which is 30 days";
    Err(Error::invalid("ttl_seconds", range))
}

/// The answer, and whether it is kept for a repeated request: a refusal is not.
fn extend(session: &Session, hold: &Hold, cost: &Cost, ttl_seconds: i32) -> (Value, bool) {
    let prices = hold.prices_then(session);
    match cost.at(prices.as_ref()) {
        Err(error) => (unpriced(hold, &Reason::from(error)), false),
        Ok(more) => {
            let widened = widen(session, hold, cost, more, ttl_seconds);
            let told = widened.answer(hold, more, prices.as_ref(), cost.usage());
            (told, widened.refusal.is_none())
        }
    }
}

fn widen(session: &Session, hold: &Hold, cost: &Cost, more: Decimal, ttl_seconds: i32) -> Widened {
    let arguments: [DatumWithOid; 4] = [
        hold.id.into(),
        usd::datum(more).into(),
        cost::usage_json(cost).into(),
        ttl_seconds.into(),
    ];
    EXTEND.with(|statement| {
        let rows = statement.rows(session, &arguments);
        Widened::read(&rows.first().expect("a function gives a row"))
    })
}

/// What became of the hold.
struct Widened {
    /// Code and reason.
    refusal: Option<(String, String)>,
    scope: String,
    scope_id: Uuid,
    remaining: Option<Decimal>,
    held: Decimal,
    expires_at: TimestampWithTimeZone,
}

impl Widened {
    /// In the order of extend_hold.sql.
    fn read(row: &Row) -> Self {
        let mut columns = RowReader::of(row);
        let (code, reason) = (columns.optional(), columns.optional());
        Widened {
            refusal: code.zip(reason),
            scope: columns.required(),
            scope_id: columns.required(),
            remaining: usd::optional(&mut columns),
            held: usd::required(&mut columns),
            expires_at: columns.required(),
        }
    }

    fn answer(
        &self,
        hold: &Hold,
        more: Decimal,
        prices: Option<&Prices>,
        usage: Option<&Usage>,
    ) -> Value {
        let affordable = prices.and_then(|prices| prices.affordable(usage, self.remaining?));
        let mut answer = json!({
            "admitted": self.refusal.is_none(),
            "hold_id": answer::id(Some(hold.id)),
            "service_id": answer::id(Some(hold.service_id)),
            "delegated_from": answer::id(hold.delegated_from),
            "held_usd": answer::usd(Some(self.held)),
            "reason": null,
            "code": null,
            "remaining_usd": answer::usd(self.remaining),
            "max_affordable_units": affordable.as_ref().map(Usage::to_json),
            "expires_at": answer::moment(self.expires_at),
        });
        if let Some((code, reason)) = &self.refusal {
            answer["code"] = json!(code);
            answer["reason"] = json!(reason);
            answer["scope"] = json!(self.scope);
            answer["scope_id"] = answer::id(Some(self.scope_id));
            answer["needed_usd"] = answer::usd(Some(more));
        }
        answer
    }
}

/// A refusal because of people.
fn stopped(hold: &Hold, stop: &Stop) -> Value {
    let mut told = answer::stopped(stop);
    told["hold_id"] = answer::id(Some(hold.id));
    told["service_id"] = answer::id(Some(hold.service_id));
    told["delegated_from"] = answer::id(hold.delegated_from);
    told["held_usd"] = answer::usd(hold.is_open().then_some(hold.amount));
    told["expires_at"] = answer::moment(hold.expires_at);
    told
}

/// A refusal for want of a price, which no limit has a say in.
fn unpriced(hold: &Hold, reason: &Reason) -> Value {
    json!({
        "admitted": false,
        "hold_id": answer::id(Some(hold.id)),
        "service_id": answer::id(Some(hold.service_id)),
        "delegated_from": answer::id(hold.delegated_from),
        "held_usd": answer::usd(hold.is_open().then_some(hold.amount)),
        "reason": reason.text(),
        "code": reason.code(),
        "scope": "service",
        "scope_id": answer::id(Some(hold.service_id)),
        "needed_usd": null,
        "remaining_usd": null,
        "max_affordable_units": null,
        "expires_at": answer::moment(hold.expires_at),
    })
}
