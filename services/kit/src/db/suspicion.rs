//! When a connection was last found dead: the others may have died with it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One for the process, which has one database. With more, a pool would try its idle connections
/// once more than it has to.
static LAST_DEATH: Mutex<Option<Instant>> = Mutex::new(None);

/// A connection has been found dead.
pub(super) fn raise() {
    *LAST_DEATH.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a connection was found dead while another was idle, for as long as it is now. The pool
/// tries every connection that comes back, so one that came back later was alive then.
pub(super) fn falls_on(idle_for: Duration) -> bool {
    let last_death = *LAST_DEATH.lock().unwrap_or_else(PoisonError::into_inner);
    last_death.is_some_and(|death| death.elapsed() <= idle_for)
}
