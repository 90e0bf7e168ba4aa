//! What wakes a process of Postgres from its sleep.

use pgrx::pg_sys;

/// A latch in shared memory. Those of processes stay there as long as the server runs.
pub type Latch = pg_sys::Latch;

/// This process' own.
pub fn own() -> *mut Latch {
    // SAFETY: reads this process' state.
    unsafe { pg_sys::MyLatch }
}

/// Wakes the process whose latch that is; null is nobody's.
///
/// Should the process have ended in this moment, its latch is nobody's, or wakes one that does not mind.
pub fn set(latch: *mut Latch) {
    if !latch.is_null() {
        // SAFETY: not null, so it came from `own`.
        unsafe { pg_sys::SetLatch(latch) };
    }
}
