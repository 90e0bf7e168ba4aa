//! The services that could be billed, as they stand in the database.

use devart_core::candidate;
use devart_core::status::ServiceState;
use pgrx::datum::Uuid;

use super::usd;
use crate::error::Error;
use crate::label;
use crate::pg::spi::{Row, Session, statement};

statement!(CANDIDATES, include_str!("candidates.sql"), [UUIDOID]);

/// How a service stands.
pub type Candidate = candidate::Candidate<Uuid>;

/// The service and its substitutes, in the order in which they are tried, as they stand now. Locks
/// nothing.
///
/// # Errors
/// [`Error::NotFound`] for no such service.
pub fn chain(session: &Session, service_id: Uuid) -> Result<Vec<Candidate>, Error> {
    let candidates: Vec<Candidate> = CANDIDATES.with(|statement| {
        let rows = statement.rows(session, &[service_id.into()]);
        rows.iter().map(|row| read(&row)).collect()
    });
    if candidates.is_empty() {
        let problem = format!("names no service: {service_id}");
        return Err(Error::not_found("service_id", problem));
    }
    Ok(candidates)
}

fn read(row: &Row) -> Candidate {
    Candidate {
        id: row.required(1),
        status: label::required::<ServiceState>(row, 2),
        spent: usd::required(row, 3),
        held: usd::required(row, 4),
        limit: usd::read(row, 5),
        next_alert: usd::read(row, 6),
        window_ended: row.required(7),
    }
}
