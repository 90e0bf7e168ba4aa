//! Dispatching: from here on the call that a hold is for may have gone out.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::hold::Hold;
use super::payer::Payer;
use crate::caller;
use crate::error::{Error, given};
use crate::pg::spi::{self, Session, statement};
use crate::stops;

statement!(
    MARK,
    "update devart.holds h set dispatched = true
     where h.id = $1 and devart_private.hold_is_alive(h)
     returning true",
    [UUIDOID]
);

/// Says that the call which the hold is for goes out now. From then on the end of the hold's time
/// does not give the money back: without a settlement, what is held counts as spent. True: it is
/// so, or was already; false: the hold is over, and the call must not be made with it.
/// `lease_token`: must be the current lease of the hold's task. Errors: P0002 no such hold, 42501
/// another agent's, 55P03 not the current lease, 55000 stopped or paused (DETAIL
/// `{"code": "stopped"}`): the hold stays as it is.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn mark_dispatched(
    hold_id: Option<Uuid>,
    lease_token: default!(Option<Uuid>, "NULL"),
) -> Result<bool, ErrorReport> {
    let hold_id = given("hold_id", hold_id)?;
    let agent = caller::calling_agent()?;
    Ok(spi::connect(|session| {
        let hold = Hold::lock(session, hold_id, agent)?;
        check_lease(session, &hold, agent, lease_token)?;
        stops::require_none(hold.payer.work(hold.service_id))?;
        let marked = MARK.with(|statement| statement.rows(session, &[hold_id.into()]).len());
        Ok::<_, Error>(marked > 0)
    })?)
}

fn check_lease(
    session: &Session,
    hold: &Hold,
    agent: Option<Uuid>,
    lease_token: Option<Uuid>,
) -> Result<(), Error> {
    if lease_token.is_none() {
        return Ok(());
    }
    if hold.payer.task_id.is_none() {
        return Err(Error::lease_lost("is of no task that the hold is for"));
    }
    Payer::check(session, agent, hold.payer.task_id, lease_token).map(drop)
}
