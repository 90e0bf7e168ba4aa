//! Settling: the real cost replaces the hold. It is the truth, so nothing is refused or clamped,
//! and it goes into the windows that admitted the hold, even when they are closed by now. What was
//! presumed, as nobody had settled the hold in time, is replaced once.

use devart_core::argument_error::ArgumentError;
use devart_core::cost::Cost;
use devart_core::settlement::Settlement;
use pgrx::JsonB;
use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::hold::Hold;
use super::ledger::{Entry, Place};
use super::{answer, budgets, cost, prices, take, usd};
use crate::caller;
use crate::error::{Error, given};
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Row, Session, statement};
use crate::row_reader::RowReader;

statement!(
    LOCK_BUDGETS,
    "select b.id from devart.budgets b where b.id = any ($1) order by b.id for no key update",
    [UUIDARRAYOID]
);
statement!(
    SETTLE_BUDGETS,
    include_str!("settle_budgets.sql"),
    [UUIDARRAYOID, NUMERICOID, NUMERICOID, UUIDARRAYOID]
);
statement!(
    SETTLE_SERVICE,
    include_str!("settle_service.sql"),
    [UUIDOID, UUIDOID, NUMERICOID, NUMERICOID]
);
statement!(
    SETTLE_CLOSED,
    include_str!("settle_closed.sql"),
    [UUIDARRAYOID, NUMERICOID, NUMERICOID]
);
statement!(STANDING, include_str!("standing.sql"), [UUIDOID]);
statement!(
    CLOSE,
    "update devart.holds h
     set status = 'SETTLED', presumed = false, closed_at = clock_timestamp(), settlement = $2
     where h.id = $1",
    [UUIDOID, JSONBOID]
);
statement!(
    RELIEVE,
    "select devart_private.service_relieved($1)",
    [UUIDOID]
);
statement!(
    PRESUMED_ROW,
    "select c.id from devart.charges c where c.hold_id = $1 and c.kind = 'settle'",
    [UUIDOID]
);
statement!(
    WAKE,
    "select devart_private.wake_waiting(u)
     from unnest($1) u
     where exists (select from devart_private.budget_waits)",
    [UUIDARRAYOID]
);

/// Replaces the hold by the real cost: `amount_usd` US dollars, or what `usage` costs at the prices
/// that were in force when the hold was made. What was held and is not needed is given back; what
/// is missing is charged all the same. When the hold's time was up before, all that was held has
/// been presumed spent: the real cost replaces that, once.
///
/// Answers charged_usd, overage_usd (charged beyond what was held: everything when that had been
/// given back), late, presumed (it replaced what was presumed), suspended, remaining_usd (of the
/// service; null: no hard limit). Asking again with the same cost is answered the same. What people
/// have corrected (`correct_charge`) stays as they said, and is answered.
/// Errors: P0002 no such hold, 42501 another agent's, 22023 no cost, or usage without a price,
/// 55000 settled with another cost.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn settle_charge(
    hold_id: Option<Uuid>,
    amount_usd: default!(Option<AnyNumeric>, "NULL"),
    usage: default!(Option<RawJsonb>, "NULL"),
) -> Result<JsonB, ErrorReport> {
    let hold_id = given("hold_id", hold_id)?;
    let cost = cost::of_arguments("amount_usd", amount_usd, usage)?;
    let agent = caller::calling_agent()?;
    Ok(spi::connect(|session| {
        let hold = Hold::lock(session, hold_id, agent)?;
        match earlier_answer(session, &hold, &cost)? {
            Some(answer) => Ok::<_, Error>(answer),
            None => settle(session, &hold, &cost),
        }
    })?)
}

fn earlier_answer(session: &Session, hold: &Hold, cost: &Cost) -> Result<Option<JsonB>, Error> {
    let Some(settlement) = &hold.settlement else {
        return Ok(None);
    };
    if let Some(corrected) = settlement.get("corrected_usd") {
        let standing = standing_of(session, hold.service_id);
        return Ok(Some(JsonB(as_corrected(corrected, &standing))));
    }
    if settlement["cost"] != cost.to_json() {
        return Err(Error::WrongState(ArgumentError::new(
            "hold_id",
            "names a hold that was settled with another cost",
        )));
    }
    Ok(Some(JsonB(settlement["answer"].clone())))
}

/// What people said stands, whatever the agent tells of a hold that it had let expire.
fn as_corrected(corrected_usd: &Value, standing: &Standing) -> Value {
    json!({
        "charged_usd": corrected_usd,
        "overage_usd": answer::usd(Some(Decimal::ZERO)),
        "late": true,
        "presumed": false,
        "suspended": standing.suspended,
        "remaining_usd": standing.remaining(),
    })
}

fn settle(session: &Session, hold: &Hold, cost: &Cost) -> Result<JsonB, Error> {
    let amount = match &hold.prices {
        None if cost.needs_prices() => {
            let then = prices::of(session, hold.service_id, Some(hold.created_at));
            prices::price(cost, then.as_ref())
        }
        pinned => prices::price(cost, pinned.as_ref()),
    }?;
    let settling = Settling {
        session,
        hold,
        settlement: Settlement::of(amount, hold.held()),
    };
    let standing = settling.change_windows();
    settling.record(cost);
    let answer = settling.answer(&standing);
    settling.close(json!({"cost": cost.to_json(), "answer": answer}));
    Ok(JsonB(answer))
}

/// A hold that is being settled.
struct Settling<'a> {
    session: &'a Session,
    hold: &'a Hold,
    settlement: Settlement,
}

/// How the service stands after the settlement.
struct Standing {
    suspended: bool,
    room: Option<Decimal>,
}

impl Standing {
    /// The first columns of standing.sql and settle_service.sql.
    fn read(columns: &mut RowReader) -> Self {
        Standing {
            suspended: columns.required(),
            room: usd::optional(columns),
        }
    }

    /// What is left, as callers are told.
    fn remaining(&self) -> Value {
        answer::usd(self.room.map(|room| room.max(Decimal::ZERO)))
    }
}

impl Settling<'_> {
    /// Budgets first, then the service, then closed windows: the order of locks.
    fn change_windows(&self) -> Standing {
        let mut closed_windows = self.settle_budgets();
        let standing = self.settle_service();
        if standing.is_none() {
            closed_windows.push(self.hold.window_id);
        }
        self.settle_closed(closed_windows);
        if standing.is_some() && self.settlement.spent < Decimal::ZERO {
            RELIEVE.with(|statement| {
                let arguments = [self.hold.service_id.into()];
                statement.rows(self.session, &arguments).len()
            });
            return standing_of(self.session, self.hold.service_id);
        }
        match standing {
            None => standing_of(self.session, self.hold.service_id),
            Some((standing, false)) => standing,
            Some((standing, true)) => Standing {
                suspended: take::reached(self.session, self.hold.service_id),
                ..standing
            },
        }
    }

    /// Settles into the budgets whose window is still open; gives the windows that are not.
    fn settle_budgets(&self) -> Vec<Uuid> {
        let (ids, windows) = (&self.hold.budget_ids, &self.hold.budget_window_ids);
        if ids.is_empty() {
            return Vec::new();
        }
        LOCK_BUDGETS.with(|statement| statement.rows(self.session, &[ids.clone().into()]).len());
        let settled: Vec<(Uuid, Uuid, bool)> = SETTLE_BUDGETS.with(|statement| {
            let arguments = [
                windows.clone().into(),
                usd::datum(self.settlement.spent).into(),
                usd::datum(self.settlement.held).into(),
                ids.clone().into(),
            ];
            let rows = statement.rows(self.session, &arguments);
            rows.iter().map(|row| settled_budget(&row)).collect()
        });
        let reached = settled.iter().filter(|(_, _, reached)| *reached);
        reached.for_each(|(budget_id, _, _)| budgets::reached(self.session, *budget_id));
        let is_closed = |window: &&Uuid| !settled.iter().any(|(_, open, _)| open == *window);
        windows.iter().filter(is_closed).copied().collect()
    }

    /// Settles into the service's window, if that is still open; says whether people must be told.
    fn settle_service(&self) -> Option<(Standing, bool)> {
        SETTLE_SERVICE.with(|statement| {
            let arguments = [
                self.hold.service_id.into(),
                self.hold.window_id.into(),
                usd::datum(self.settlement.spent).into(),
                usd::datum(self.settlement.held).into(),
            ];
            let rows = statement.rows(self.session, &arguments);
            let row = rows.first()?;
            let mut columns = RowReader::of(&row);
            Some((Standing::read(&mut columns), columns.required()))
        })
    }

    fn settle_closed(&self, windows: Vec<Uuid>) {
        if windows.is_empty() {
            return;
        }
        SETTLE_CLOSED.with(|statement| {
            let arguments = [
                windows.into(),
                usd::datum(self.settlement.spent).into(),
                usd::datum(self.settlement.held).into(),
            ];
            statement.rows(self.session, &arguments).len()
        });
    }

    /// The rows of the ledger; the first of them tells the usage.
    fn record(&self, cost: &Cost) {
        let place = Place {
            service_id: self.hold.service_id,
            window_id: self.hold.window_id,
            budget_window_ids: &self.hold.budget_window_ids,
            payer: &self.hold.payer,
            delegated_from: self.hold.delegated_from,
        };
        let mut usage = cost::usage_json(cost);
        let correction = self.presumed_row().map(|row| (row, "settled late"));
        for (kind, amount) in self.settlement.entries() {
            let entry = Entry {
                kind,
                amount,
                usage: usage.take(),
                hold_id: Some(self.hold.id),
                idempotency_key: None,
                correction,
            };
            place.record(self.session, entry);
        }
    }

    /// The row of the ledger that this settlement corrects, when the cost was presumed.
    fn presumed_row(&self) -> Option<Uuid> {
        if !self.settlement.replaces_presumed() {
            return None;
        }
        PRESUMED_ROW.with(|statement| {
            let rows = statement.rows(self.session, &[self.hold.id.into()]);
            rows.first().map(|row| row.required(1))
        })
    }

    fn answer(&self, standing: &Standing) -> Value {
        json!({
            "charged_usd": answer::usd(Some(self.settlement.cost)),
            "overage_usd": answer::usd(Some(self.settlement.overage)),
            "late": self.settlement.is_late(),
            "presumed": self.settlement.replaces_presumed(),
            "suspended": standing.suspended,
            "remaining_usd": standing.remaining(),
        })
    }

    /// Closes the hold, with what is answered when it is asked for again. When money came back,
    /// tasks that wait for it may go.
    fn close(&self, settlement: Value) {
        let arguments = [self.hold.id.into(), JsonB(settlement).into()];
        CLOSE.with(|statement| statement.rows(self.session, &arguments).len());
        if !self.settlement.released.is_zero() {
            let mut scopes = self.hold.budget_ids.clone();
            scopes.push(self.hold.service_id);
            WAKE.with(|statement| statement.rows(self.session, &[scopes.into()]).len());
        }
    }
}

/// A budget, its window, and whether people must be told. In the order of settle_budgets.sql.
fn settled_budget(row: &Row) -> (Uuid, Uuid, bool) {
    let mut columns = RowReader::of(row);
    (columns.required(), columns.required(), columns.required())
}

fn standing_of(session: &Session, service_id: Uuid) -> Standing {
    STANDING.with(|statement| {
        let rows = statement.rows(session, &[service_id.into()]);
        let row = rows.first().expect("services are never deleted");
        Standing::read(&mut RowReader::of(&row))
    })
}
