//! Stop and pause: the one gate that everything asks which begins work or sets money aside.
//!
//! What is in force is kept in memory (`in_force`), so asking costs next to nothing. What was let
//! pass is looked at again when its transaction commits (`begun`), so that nothing begins after the
//! commit of a stop (docs/decisions/stops.md).

mod begun;
mod in_force;

use std::rc::Rc;

use pgrx::datum::Uuid;

pub use in_force::{InForce, Lines, Stop, current};

use crate::error::Error;

/// What is about to begin, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    pub agent: Option<Uuid>,
    /// Whose money is asked for, or that the task names. An agent with a service and no task spends
    /// for all tasks that it has in hand.
    pub service: Option<Uuid>,
    pub run: Option<Uuid>,
    pub task: Option<Uuid>,
}

/// Why this may not begin. `None`: it may, unless a stop commits before this transaction does.
pub fn refusal(work: Work) -> Option<Stop> {
    let in_force = current();
    let stop = in_force.refuses(&work).cloned();
    if stop.is_none() {
        began(work, &in_force);
    }
    stop
}

/// The same as an error, for what answers with no row that could say so.
///
/// # Errors
/// [`Error::Stopped`].
pub fn require_none(work: Work) -> Result<(), Error> {
    refusal(work).map_or(Ok(()), |stop| {
        Err(Error::Stopped {
            text: stop.text(),
            code: stop.code(),
        })
    })
}

/// This begins in the transaction; `in_force` did not refuse it.
pub fn began(work: Work, in_force: &Rc<InForce>) {
    begun::remember(work, Some(in_force));
}

/// This begins in the transaction, and nobody has asked yet whether it may.
pub fn began_unasked(work: Work) {
    begun::remember(work, None);
}
