//! Releasing: held money is given back unspent.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::hold::Hold;
use crate::caller;
use crate::error::Error;
use crate::pg::spi::{self, statement};

statement!(
    RELEASE,
    "select devart_private.release_holds(array[$1], 'RELEASED')",
    [UUIDOID]
);

/// Gives the money of a hold back. False when there is nothing to give back, as it was settled or
/// released or has expired.
///
/// Supervisors may give back any hold. Errors: P0002 no such hold, 42501 another agent's.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn release_charge(hold_id: Uuid) -> Result<bool, ErrorReport> {
    let agent = caller::releasing_agent()?;
    Ok(spi::connect(|session| {
        let hold = Hold::lock(session, hold_id, agent)?;
        if hold.is_open() {
            RELEASE.with(|statement| statement.rows(session, &[hold_id.into()]).len());
        }
        Ok::<_, Error>(hold.is_open())
    })?)
}
