//! The rows that the statement of a trigger made, without a statement to select them.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::columns;

/// The rows may be read again.
const REWIND: i32 = pg_sys::EXEC_FLAG_REWIND as i32;

/// Reads all new rows of a trigger for each statement that has a transition table of them.
pub fn read_new<T>(trigger: &PgTrigger, read: impl Fn(&NewTableRow) -> T) -> Vec<T> {
    let data = trigger.trigger_data();
    let rows = data.tg_newtable;
    assert!(!rows.is_null(), "the trigger has no table of new rows");
    // SAFETY: table and rows are open while the trigger runs. Others read with pointers of their own.
    unsafe {
        let pointer = pg_sys::tuplestore_alloc_read_pointer(rows, REWIND);
        pg_sys::tuplestore_select_read_pointer(rows, pointer);
        pg_sys::tuplestore_rescan(rows);
        let slot = pg_sys::MakeSingleTupleTableSlot(
            (*data.tg_relation).rd_att,
            &raw const pg_sys::TTSOpsMinimalTuple,
        );
        let mut all = Vec::new();
        while pg_sys::tuplestore_gettupleslot(rows, true, false, slot) {
            all.push(read(&NewTableRow { slot }));
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        all
    }
}

/// A row of a transition table.
pub struct NewTableRow {
    slot: *mut pg_sys::TupleTableSlot,
}

impl NewTableRow {
    /// The value of a column, `None` for SQL null. Raises 42804 for a column of another type.
    pub fn get<T: FromDatum + IntoDatum>(&self, column: &'static CStr) -> Option<T> {
        // SAFETY: the slot holds a row of the trigger's table.
        unsafe { columns::get(self.slot, column) }
    }

    /// The value of a column that is never null.
    pub fn required<T: FromDatum + IntoDatum>(&self, column: &'static CStr) -> T {
        self.get(column)
            .unwrap_or_else(|| panic!("{column:?} is null"))
    }
}
