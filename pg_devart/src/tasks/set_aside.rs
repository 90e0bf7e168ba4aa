//! Tasks that cannot be handed out: each fails for itself, with the reason, so that a claim goes on
//! with the next instead of meeting the same one for ever (docs/decisions/set-aside-tasks.md).

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::claimed::Claimed;
use crate::json;
use crate::money::claim::{CostlyTask, Outcome};
use crate::pg::spi::{Session, statement};
use crate::pg::subtransaction::Failure;

statement!(SET_ASIDE, include_str!("set_aside.sql"), [UUIDOID, TEXTOID]);

/// What became of a task that was picked.
pub enum Handed {
    /// It goes to its worker; with the hold, if it costs money.
    Out(Option<Uuid>),
    /// It waits for money or for a person.
    Parked,
    /// It is back in the queue as it was.
    Back,
    /// It has FAILED, as it cannot be handed out.
    Aside,
}

/// Sets the money of a picked task aside that costs any, or the task when it cannot be handed out.
pub fn hand_out(session: &Session, task: &Claimed, agent_id: Uuid, may_wait: bool) -> Handed {
    if let Some(problem) = json::unreadable(task.payload()) {
        set_aside(session, task.task_id, &format!("its payload {problem}"));
        return Handed::Aside;
    }
    let Some((service_id, estimate)) = task.cost() else {
        return Handed::Out(None);
    };
    let costly = CostlyTask {
        task_id: task.task_id,
        service_id,
        attempt: task.attempt,
        estimate,
    };
    match costly.start(session, agent_id, may_wait) {
        Ok(Outcome::Started(hold_id)) => Handed::Out(Some(hold_id)),
        Ok(Outcome::Parked) => Handed::Parked,
        Ok(Outcome::GivenBack) => Handed::Back,
        Err(failure) => {
            set_aside(session, task.task_id, &why(task.task_id, &failure));
            Handed::Aside
        }
    }
}

/// The reason as people see it: Postgres' own words are for the log.
fn why(task_id: Uuid, failure: &Failure) -> String {
    log!("task {task_id} cannot be handed out: {}", failure.message);
    let code = &failure.sqlstate;
    format!("its money cannot be set aside (SQLSTATE {code}; the log says more)")
}

fn set_aside(session: &Session, task_id: Uuid, why: &str) {
    let reason = format!("cannot be handed out: {why}");
    SET_ASIDE.with(|statement| {
        let arguments = [task_id.into(), reason.into()];
        statement.rows(session, &arguments).len()
    });
}
