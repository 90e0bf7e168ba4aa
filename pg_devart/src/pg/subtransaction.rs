//! Trying something whose locks must not stay when it fails.

use pgrx::pg_sys;

/// Runs `attempt` in a subtransaction, which is kept when it gives something and else rolled back, locks included. An error ends
/// the whole transaction, as everywhere.
///
/// Postgres keeps the lock on a row that an update waited for even when the row then does not match any more.
pub fn keep_if_some<T>(attempt: impl FnOnce() -> Option<T>) -> Option<T> {
    // SAFETY: as PL/pgSQL does for its exception blocks: context and resource owner are put back after either end. Values that
    // `attempt` gives are Rust's own, so nothing is lost with the subtransaction's memory.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;
        let outcome = attempt();
        match outcome {
            Some(_) => pg_sys::ReleaseCurrentSubTransaction(),
            None => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
        outcome
    }
}
