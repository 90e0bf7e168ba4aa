//! The estimate of a call for which its caller gives none: what such calls cost lately, as
//! maintain() keeps it (sql/idempotent/346_money_estimates.sql).

use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::usd;
use crate::pg::spi::{Session, statement};
use crate::row_reader::RowReader;

statement!(ESTIMATE, include_str!("estimate.sql"), [UUIDOID, UUIDOID]);

/// What to hold for a call to the service, for a task when one is named; `None` without history and
/// floor.
pub fn of(session: &Session, service_id: Uuid, task_id: Option<Uuid>) -> Option<Decimal> {
    ESTIMATE.with(|statement| {
        let rows = statement.rows(session, &[service_id.into(), task_id.into()]);
        usd::optional(&mut RowReader::of(&rows.first()?))
    })
}
