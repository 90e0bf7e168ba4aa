//! Whether an index is what its readers take it for. Postgres' planner would ask the same, and take
//! another way; here there is no other.

use std::ffi::CStr;

use pgrx::pg_sys::submodules::htup;
use pgrx::prelude::*;

use crate::pg::snapshot;

/// Raises 55000 for an index that would not give all rows of the table, or not in order; 40001 for one
/// that is younger than what this transaction sees.
///
/// # Safety
/// Both must be open.
pub unsafe fn check(table: pg_sys::Relation, index: pg_sys::Relation, keys: usize) {
    // SAFETY: the caller's promise; the caches have an entry for each column.
    unsafe {
        let about = &*(*index).rd_index;
        if about.indrelid != (*table).rd_id {
            refuse(index, "belongs to another table");
        }
        if (*(*index).rd_rel).relkind != pg_sys::RELKIND_INDEX as i8
            || (*(*index).rd_rel).relam != pg_sys::BTREE_AM_OID
        {
            refuse(index, "is not a B-tree of one table");
        }
        if !(about.indisvalid && about.indisready && about.indislive) {
            refuse(index, "is not valid");
        }
        if (about.indnkeyatts as usize) < keys {
            refuse(index, "has too few columns");
        }
        for column in 0..keys {
            check_order(index, column);
        }
        if about.indcheckxmin {
            check_age(index);
        }
    }
}

unsafe fn check_order(index: pg_sys::Relation, column: usize) {
    // SAFETY: the caller's promise, see `check`.
    unsafe {
        if *(*index).rd_indoption.add(column) as u32 & pg_sys::INDOPTION_DESC != 0 {
            refuse(index, "is ordered downwards");
        }
        let collation = *(*index).rd_indcollation.add(column);
        if collation != pg_sys::InvalidOid && !pg_sys::get_collation_isdeterministic(collation) {
            refuse(index, "takes different texts for equal");
        }
    }
}

/// An index may lack rows that only older snapshots see, when they were changed before it was made.
unsafe fn check_age(index: pg_sys::Relation) {
    // SAFETY: the caller's promise, see `check`.
    unsafe {
        let made_by = htup::HeapTupleHeaderGetXmin((*(*index).rd_indextuple).t_data);
        if snapshot::is_for_the_whole_transaction()
            && !pg_sys::TransactionIdPrecedes(made_by, pg_sys::TransactionXmin)
        {
            snapshot::refuse("could not serialize access due to a new index");
        }
    }
}

/// Raises 55000.
///
/// # Safety
/// The index must be open.
pub unsafe fn refuse(index: pg_sys::Relation, what: &str) -> ! {
    // SAFETY: the name is zero-terminated, within the open index.
    let name = unsafe { CStr::from_ptr((*(*index).rd_rel).relname.data.as_ptr()) };
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("index {} {what}", name.to_string_lossy()),
        "Rebuild it: REINDEX, or drop it and create it as devart's SQL does."
    );
}
