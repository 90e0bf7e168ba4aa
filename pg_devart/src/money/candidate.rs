//! A service that could be billed: the one that was asked for, or one of its substitutes.

use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::usd;
use crate::error::Error;
use crate::pg::spi::{Row, Session, statement};

statement!(CANDIDATES, include_str!("candidates.sql"), [UUIDOID]);

/// How a service stands.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: Uuid,
    /// ACTIVE, SUSPENDED or DISABLED.
    pub status: String,
    pub spent: Decimal,
    held: Decimal,
    /// The limit, when it is hard.
    limit: Option<Decimal>,
    next_alert: Option<Decimal>,
    /// The window of this moment is not open yet: nothing is spent of it.
    pub window_ended: bool,
}

/// The service and its substitutes, in the order in which they are tried, as they stand now. Locks nothing.
///
/// # Errors
/// [`Error::NotFound`] for no such service.
pub fn chain(session: &Session, service_id: Uuid) -> Result<Vec<Candidate>, Error> {
    let candidates: Vec<Candidate> = CANDIDATES.with(|statement| {
        let rows = statement.rows(session, &[service_id.into()]);
        rows.iter().map(|row| Candidate::read(&row)).collect()
    });
    if candidates.is_empty() {
        return Err(Error::NotFound(format!(
            "service_id names no service: {service_id}"
        )));
    }
    Ok(candidates)
}

impl Candidate {
    fn read(row: &Row) -> Self {
        Candidate {
            id: row.required(1),
            status: row.required(2),
            spent: usd::required(row, 3),
            held: usd::required(row, 4),
            limit: usd::read(row, 5),
            next_alert: usd::read(row, 6),
            window_ended: row.required(7),
        }
    }

    pub fn is_disabled(&self) -> bool {
        self.status == "DISABLED"
    }

    /// Suspended in the window of this moment.
    pub fn is_suspended(&self) -> bool {
        self.status == "SUSPENDED" && !self.window_ended
    }

    /// What is left of a hard limit; `None` without one.
    pub fn room(&self) -> Option<Decimal> {
        self.limit.map(|limit| {
            if self.window_ended {
                limit
            } else {
                limit - self.spent - self.held
            }
        })
    }

    /// Whether spending this much is only a matter of adding: no window to open, nobody to tell.
    pub fn is_calm(&self, spend: Decimal) -> bool {
        !self.window_ended
            && self
                .next_alert
                .is_none_or(|next_alert| self.spent + spend < next_alert)
    }
}
