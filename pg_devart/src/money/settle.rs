//! Settling: the real cost replaces the hold. It is the truth, so nothing is refused or clamped, and it goes into the windows that
//! admitted the hold, even when they are closed by now.

use devart_core::argument_error::ArgumentError;
use devart_core::cost::Cost;
use devart_core::price::Prices;
use devart_core::settlement::Settlement;
use devart_core::status::HoldStatus;
use pgrx::JsonB;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::ledger::{Entry, Place};
use super::payer::Payer;
use super::{answer, budgets, cost, gate, prices, usd};
use crate::caller;
use crate::error::Error;
use crate::label;
use crate::pg::spi::{self, Session, statement};

statement!(LOCK_HOLD, include_str!("lock_hold.sql"), [UUIDOID]);
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
    "update devart.holds h set status = 'SETTLED', closed_at = clock_timestamp(), settlement = $2 where h.id = $1",
    [UUIDOID, JSONBOID]
);
statement!(
    WAKE,
    "select devart_private.wake_waiting(u) from unnest($1) u where exists (select from devart_private.budget_waits)",
    [UUIDARRAYOID]
);

/// Replaces the hold by the real cost: `amount_usd` US dollars, or what `usage` costs at the prices that were in force when the hold
/// was made. What was held and is not needed is given back; what is missing is charged all the same.
///
/// Answers charged_usd, overage_usd (charged beyond what was still held: everything when the hold had expired or was released), late,
/// suspended, remaining_usd (of the service; null: no hard limit). Asking again with the same cost is answered the same.
/// Errors: P0002 no such hold, 42501 another agent's, 22023 no cost, or usage without a price, 55000 settled with another cost.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn settle_charge(
    hold_id: Uuid,
    amount_usd: default!(Option<AnyNumeric>, "NULL"),
    usage: default!(Option<JsonB>, "NULL"),
) -> Result<JsonB, ErrorReport> {
    let cost = cost::of_arguments("amount_usd", amount_usd, usage)?;
    let agent = caller::calling_agent()?;
    Ok(spi::connect(|session| {
        let hold = Hold::lock(session, hold_id, agent)?;
        match hold.earlier_answer(&cost)? {
            Some(answer) => Ok::<_, Error>(answer),
            None => hold.settle(session, &cost),
        }
    })?)
}

/// A hold, locked.
pub struct Hold {
    id: Uuid,
    service_id: Uuid,
    window_id: Uuid,
    budget_ids: Vec<Uuid>,
    budget_window_ids: Vec<Uuid>,
    amount: Decimal,
    status: HoldStatus,
    payer: Payer,
    prices: Option<Prices>,
    delegated_from: Option<Uuid>,
    settlement: Option<Value>,
    created_at: TimestampWithTimeZone,
}

/// How the service stands after the settlement.
struct Standing {
    suspended: bool,
    room: Option<Decimal>,
}

impl Hold {
    /// Locks a hold for the agent that made it, or an operator.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub fn lock(session: &Session, hold_id: Uuid, agent: Option<Uuid>) -> Result<Self, Error> {
        let hold = LOCK_HOLD.with(|statement| {
            let rows = statement.rows(session, &[hold_id.into()]);
            rows.first().map(|row| Hold {
                id: hold_id,
                service_id: row.required(1),
                window_id: row.required(2),
                budget_ids: row.required(3),
                budget_window_ids: row.required(4),
                amount: usd::required(&row, 5),
                status: label::required(&row, 6),
                payer: Payer {
                    task_id: row.get(7),
                    agent_id: row.get(8),
                    attempt: row.get(9),
                },
                prices: row.get(10).and_then(|JsonB(json)| Prices::from_json(&json)),
                delegated_from: row.get(11),
                settlement: row.get(12).map(|JsonB(json)| json),
                created_at: row.required(13),
            })
        });
        let hold =
            hold.ok_or_else(|| Error::not_found("hold_id", format!("names no hold: {hold_id}")))?;
        if agent.is_some() && agent != hold.payer.agent_id {
            return Err(Error::Forbidden("the hold is another agent's"));
        }
        Ok(hold)
    }

    /// Whether its money is still set aside.
    pub fn is_open(&self) -> bool {
        self.status == HoldStatus::Held
    }

    fn earlier_answer(&self, cost: &Cost) -> Result<Option<JsonB>, Error> {
        let Some(settlement) = &self.settlement else {
            return Ok(None);
        };
        if settlement["cost"] != cost.to_json() {
            return Err(Error::WrongState(ArgumentError::new(
                "hold_id",
                "names a hold that was settled with another cost",
            )));
        }
        Ok(Some(JsonB(settlement["answer"].clone())))
    }

    fn settle(&self, session: &Session, cost: &Cost) -> Result<JsonB, Error> {
        let held = self.is_open().then_some(self.amount);
        let settlement = Settlement::of(self.price(session, cost)?, held);
        let closed_windows = self.settle_budgets(session, &settlement);
        let standing = self.settle_service(session, &settlement, closed_windows);
        self.record(session, &settlement, cost);
        let answer = json!({
            "charged_usd": answer::usd(Some(settlement.cost)),
            "overage_usd": answer::usd(Some(settlement.overage)),
            "late": !self.is_open(),
            "suspended": standing.suspended,
            "remaining_usd": answer::usd(standing.room.map(|room| room.max(Decimal::ZERO))),
        });
        let kept = json!({"cost": cost.to_json(), "answer": answer});
        CLOSE.with(|statement| {
            statement
                .rows(session, &[self.id.into(), JsonB(kept).into()])
                .len()
        });
        if !settlement.released.is_zero() {
            self.wake_waiting(session);
        }
        Ok(JsonB(answer))
    }

    /// The cost in dollars, at the prices pinned on the hold or, when there are none, in force when it was made.
    fn price(&self, session: &Session, cost: &Cost) -> Result<Decimal, Error> {
        let prices = match &self.prices {
            None if cost.needs_prices() => {
                prices::of(session, self.service_id, Some(self.created_at))
            }
            pinned => pinned.clone(),
        };
        Ok(cost.at(prices.as_ref()).map_err(ArgumentError::from)?)
    }

    /// Settles into the budgets whose window is still open; gives the windows that are not.
    fn settle_budgets(&self, session: &Session, settlement: &Settlement) -> Vec<Uuid> {
        if self.budget_ids.is_empty() {
            return Vec::new();
        }
        LOCK_BUDGETS.with(|statement| {
            statement
                .rows(session, &[self.budget_ids.clone().into()])
                .len()
        });
        let settled: Vec<(Uuid, Uuid, bool)> = SETTLE_BUDGETS.with(|statement| {
            let arguments = [
                self.budget_window_ids.clone().into(),
                usd::datum(settlement.cost).into(),
                usd::datum(settlement.held).into(),
                self.budget_ids.clone().into(),
            ];
            let rows = statement.rows(session, &arguments);
            rows.iter()
                .map(|row| (row.required(1), row.required(2), row.required(3)))
                .collect()
        });
        let reached = settled.iter().filter(|(_, _, reached)| *reached);
        reached.for_each(|(budget_id, _, _)| budgets::reached(session, *budget_id));
        let is_closed = |window: &&Uuid| !settled.iter().any(|(_, open, _)| open == *window);
        self.budget_window_ids
            .iter()
            .filter(is_closed)
            .copied()
            .collect()
    }

    /// Settles into the service's window if that is still open, and into all windows that are not.
    fn settle_service(
        &self,
        session: &Session,
        settlement: &Settlement,
        mut closed_windows: Vec<Uuid>,
    ) -> Standing {
        let amounts = || (usd::datum(settlement.cost), usd::datum(settlement.held));
        let standing = SETTLE_SERVICE.with(|statement| {
            let (cost, held) = amounts();
            let rows = statement.rows(
                session,
                &[
                    self.service_id.into(),
                    self.window_id.into(),
                    cost.into(),
                    held.into(),
                ],
            );
            rows.first().map(|row| {
                (
                    Standing {
                        suspended: row.required(1),
                        room: usd::read(&row, 2),
                    },
                    row.required(3),
                )
            })
        });
        if standing.is_none() {
            closed_windows.push(self.window_id);
        }
        if !closed_windows.is_empty() {
            let (cost, held) = amounts();
            SETTLE_CLOSED.with(|statement| {
                statement
                    .rows(session, &[closed_windows.into(), cost.into(), held.into()])
                    .len()
            });
        }
        match standing {
            None => standing_of(session, self.service_id),
            Some((standing, false)) => standing,
            Some((standing, true)) => Standing {
                suspended: gate::service_reached(session, self.service_id),
                ..standing
            },
        }
    }

    /// The rows of the ledger; the first of them tells the usage.
    fn record(&self, session: &Session, settlement: &Settlement, cost: &Cost) {
        let place = Place {
            service_id: self.service_id,
            window_id: self.window_id,
            budget_window_ids: &self.budget_window_ids,
            payer: &self.payer,
            delegated_from: self.delegated_from,
        };
        let mut usage = cost::usage_json(cost);
        for (kind, amount) in settlement.entries() {
            place.record(
                session,
                Entry {
                    kind,
                    amount,
                    usage: usage.take(),
                    hold_id: Some(self.id),
                    idempotency_key: None,
                },
            );
        }
    }

    /// Money came back: tasks that wait for it may go.
    fn wake_waiting(&self, session: &Session) {
        let mut scopes = self.budget_ids.clone();
        scopes.push(self.service_id);
        WAKE.with(|statement| statement.rows(session, &[scopes.into()]).len());
    }
}

fn standing_of(session: &Session, service_id: Uuid) -> Standing {
    STANDING.with(|statement| {
        let rows = statement.rows(session, &[service_id.into()]);
        let row = rows.first().expect("services are never deleted");
        Standing {
            suspended: row.required(1),
            room: usd::read(&row, 2),
        }
    })
}
