//! Keeping a task for longer.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::lease_refusal;
use super::outcome::{self, changes_leased_task, outcome_columns};
use crate::caller;
use crate::error::Error;
use crate::pg::spi::{self, statement};

const MAX_LEASE_SECONDS: i32 = 86_400;

statement!(
    EXTEND,
    concat!(include_str!("lease.sql"), outcome_columns!()),
    [UUIDOID, UUIDOID, FLOAT8OID, UUIDOID]
);

changes_leased_task! {
    /// Sets the lease to end `seconds` (1 to 86400) from now.
    ///
    /// Errors: P0002 no such task, 42501 another agent's, 55P03 not the current lease, 22023
    /// `seconds`.
    fn extend_lease(
        task_id: Uuid,
        lease_token: Uuid,
        seconds: default!(i32, 60),
    ) {
        if !(1..=MAX_LEASE_SECONDS).contains(&seconds) {
            let problem = format!("must be from 1 to {MAX_LEASE_SECONDS}");
            return Err(Error::invalid("seconds", problem).into());
        }
        let agent = caller::calling_agent()?;
        let extended = spi::connect(|session| {
            EXTEND.with(|statement| {
                let rows = statement.rows(
                    session,
                    &[task_id.into(), lease_token.into(), f64::from(seconds).into(), agent.into()],
                );
                let row = rows.first().map(|row| outcome::read(&row));
                row.ok_or_else(|| lease_refusal::explain(session, task_id, agent))
            })
        })?;
        Ok(TableIterator::once(extended))
    }
}
