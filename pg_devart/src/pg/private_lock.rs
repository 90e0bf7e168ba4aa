//! Locks that only devart's own functions can take. SQL's advisory locks belong to everybody who can
//! log in, and whoever takes one may keep it: nothing may depend on them.

use pgrx::prelude::*;

use crate::pg::database;

/// What tells these locks apart: SQL's functions number theirs with 1 and 2 in this place.
const OURS: u16 = 0xDA;

/// Takes the lock of this number until the transaction ends. False when somebody else has it and
/// `patient` is false.
fn take(number: i64, patient: bool) -> bool {
    let [high, low] = [(number >> 32) as u32, number as u32];
    let tag = pg_sys::LOCKTAG {
        locktag_field1: database::own(),
        locktag_field2: high,
        locktag_field3: low,
        locktag_field4: OURS,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    // SAFETY: the tag outlives the call. Released at the end of the (sub)transaction, as every lock
    // that is not the session's.
    let result =
        unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, !patient) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// Takes devart's own lock of this number until the transaction ends, waiting for it.
    #[pg_extern(volatile, parallel_unsafe)]
    fn take_lock(number: i64) {
        take(number, true);
    }

    /// Takes devart's own lock of this number until the transaction ends, if nobody has it.
    #[pg_extern(volatile, parallel_unsafe)]
    fn try_lock(number: i64) -> bool {
        take(number, false)
    }
}
