//! What the transaction sees of others.

use pgrx::prelude::*;

/// Whether the transaction goes on seeing what was true when it began: REPEATABLE READ, SERIALIZABLE.
pub fn is_for_the_whole_transaction() -> bool {
    // SAFETY: reads the transaction's state.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Raises 40001: another attempt of the same transaction may succeed.
pub fn refuse(message: &'static str) -> ! {
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        message
    );
}
