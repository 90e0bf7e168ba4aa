//! How much an agent may have set aside at once, so that none blocks a service for the others.

use devart_core::status::BudgetScope;
use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::budgets::HeldLimit;
use super::usd;
use crate::pg::spi::{Session, statement};
use crate::row_reader::RowReader;
use crate::settings;

statement!(
    LOCK,
    "select devart_private.lock_holds_of_agent($1, $2)",
    [UUIDOID, BOOLOID]
);
statement!(
    HELD,
    "select coalesce(sum(h.amount_usd), 0) from devart.holds h
     where h.agent_id = $1 and h.status = 'HELD'",
    [UUIDOID]
);

/// Locks what the agent may set aside against its other reservations. False when `patient` is false
/// and somebody else has it. Without a limit, as by default, nothing is locked.
pub fn lock(session: &Session, agent_id: Option<Uuid>, patient: bool) -> bool {
    let (Some(agent_id), true) = (agent_id, is_set(session)) else {
        return true;
    };
    LOCK.with(|statement| {
        let rows = statement.rows(session, &[agent_id.into(), patient.into()]);
        rows.first().expect("a function gives a row").required(1)
    })
}

/// Whether agents are limited so.
pub fn is_set(session: &Session) -> bool {
    settings::current(session).max_held_usd.is_some()
}

/// How the limit stands that is locked.
pub fn of(session: &Session, agent_id: Option<Uuid>) -> Option<HeldLimit> {
    let limit = settings::current(session).max_held_usd?;
    let agent_id = agent_id?;
    Some(HeldLimit {
        id: agent_id,
        scope: BudgetScope::Agent,
        hard_limit: true,
        limit,
        used: held(session, agent_id),
    })
}

fn held(session: &Session, agent_id: Uuid) -> Decimal {
    HELD.with(|statement| {
        let rows = statement.rows(session, &[agent_id.into()]);
        let row = rows.first().expect("an aggregate gives a row");
        usd::required(&mut RowReader::of(&row))
    })
}
