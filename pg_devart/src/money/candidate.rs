//! The services that could be billed, as they stand in the database.

use devart_core::candidate;
use pgrx::datum::{TimestampWithTimeZone, Uuid};

use super::usd;
use crate::error::Error;
use crate::pg::spi::{Row, Session, statement};
use crate::row_reader::RowReader;

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

/// In the order of candidates.sql.
fn read(row: &Row) -> Candidate {
    let mut columns = RowReader::of(row);
    Candidate {
        id: columns.required(),
        status: columns.label(),
        spent: usd::required(&mut columns),
        held: usd::required(&mut columns),
        limit: usd::optional(&mut columns),
        next_alert: usd::optional(&mut columns),
        window_ended: columns.required(),
        deferred_until: columns.optional::<TimestampWithTimeZone>().map(i64::from),
    }
}
