//! Memory that all processes of a server share.

use std::ffi::CStr;

use pgrx::{PgAtomic, PgLwLock};

/// A place for atomics. No other memory of the server may have its name.
pub const fn atomic<T>(name: &'static CStr) -> PgAtomic<T> {
    // SAFETY: devart's names begin with "devart", and its few places are all in wake/shared.rs.
    unsafe { PgAtomic::new(name) }
}

/// A place behind a lock. No other memory of the server may have its name.
pub const fn locked<T>(name: &'static CStr) -> PgLwLock<T> {
    // SAFETY: as above.
    unsafe { PgLwLock::new(name) }
}

/// Declares that a type may lie in shared memory: `shareable!(Type)`. It must consist of atomics and
/// bytes; where it has pointers, they must lead into shared memory, which is at one address everywhere.
macro_rules! shareable {
    ($type:ty) => {
        // SAFETY: what the macro asks of the type.
        unsafe impl pgrx::PGRXSharedMemory for $type {}
    };
}
pub(crate) use shareable;
