//! What time it is, by the clock and for the transaction.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// The clock, in microseconds since 2000.
pub fn now_us() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// The clock.
pub fn now() -> TimestampWithTimeZone {
    now_us().try_into().expect("the clock gives timestamps")
}

/// When the transaction began (now() of SQL), in microseconds since 2000.
pub fn transaction_start_us() -> i64 {
    // SAFETY: reads the transaction's state.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}
