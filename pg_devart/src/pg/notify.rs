//! NOTIFY.

use pgrx::fcinfo::direct_function_call;
use pgrx::prelude::*;

/// How long the name of a channel can be, in bytes, its end included.
pub const NAME_SIZE: usize = pg_sys::NAMEDATALEN as usize;

/// Sends an empty notification when this transaction commits.
///
/// Raises the error of Postgres when its queue of notifications is full.
pub fn notify(channel: &str) {
    // SAFETY: pg_notify takes two texts and gives nothing.
    unsafe {
        direct_function_call::<()>(pg_sys::pg_notify, &[channel.into_datum(), "".into_datum()]);
    }
}
