//! A lock on a table that costs next to nothing beside others of its kind.

use pgrx::prelude::*;

use crate::pg::index::Index;

/// Takes the ROW SHARE lock of the table behind `index` until the transaction ends. Whoever has
/// taken EXCLUSIVE before is waited for, and what was changed under that is known afterwards: with
/// a new lock Postgres reads the messages by which sessions forget what they keep.
pub fn row_share(index: &Index) {
    let table = index.table_oid();
    // SAFETY: a transaction runs; it raises at most.
    unsafe { pg_sys::LockRelationOid(table, pg_sys::RowShareLock as i32) };
}
