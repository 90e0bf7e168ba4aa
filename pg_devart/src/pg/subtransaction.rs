//! Trying something whose locks must not stay when it fails.

use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use pgrx::pg_sys;

/// Runs `attempt` in a subtransaction, which is kept when it gives something and else rolled back, locks included. An error ends
/// the whole transaction, as everywhere.
///
/// The subtransaction ends before an error goes on, as PL/pgSQL does it: Postgres takes one that is still open then for a
/// savepoint of the client's, and the session would refuse everything until a ROLLBACK.
///
/// Postgres keeps the lock on a row that an update waited for even when the row then does not match any more.
pub fn keep_if_some<T>(attempt: impl FnOnce() -> Option<T>) -> Option<T> {
    let before = Before::begin();
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| Ok(attempt())))
        .catch_others(Err)
        .execute();
    before.end(matches!(outcome, Ok(Some(_))));
    match outcome {
        Ok(outcome) => outcome,
        Err(caught) => caught.rethrow(),
    }
}

/// What is put back after a subtransaction, as PL/pgSQL does for its exception blocks. Values that an attempt gives are Rust's
/// own, so nothing is lost with the subtransaction's memory.
struct Before {
    context: pg_sys::MemoryContext,
    owner: pg_sys::ResourceOwner,
}

impl Before {
    fn begin() -> Self {
        // SAFETY: a transaction runs, as in every function; context and owner are put back by `end`.
        unsafe {
            let before = Before {
                context: pg_sys::CurrentMemoryContext,
                owner: pg_sys::CurrentResourceOwner,
            };
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::CurrentMemoryContext = before.context;
            before
        }
    }

    fn end(self, keep: bool) {
        // SAFETY: the subtransaction of `begin` is the innermost one, since whatever begins one ends it, also with an error.
        unsafe {
            match keep {
                true => pg_sys::ReleaseCurrentSubTransaction(),
                false => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
            }
            pg_sys::CurrentMemoryContext = self.context;
            pg_sys::CurrentResourceOwner = self.owner;
        }
    }
}
