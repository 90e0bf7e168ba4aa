//! The row that a "before" trigger on a table lets pass, with changes.

use std::ffi::CStr;

use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;
use pgrx::{AllocatedByPostgres, PgTupleDesc};

use crate::pg::{columns, labels};

/// Gives the row as it came; changes take effect together, in [`NewRow::finish`].
pub struct NewRow {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    changed: Vec<i32>,
    values: Vec<pg_sys::Datum>,
}

impl NewRow {
    /// The row that is inserted, or the one that an update makes, in a trigger for each row.
    pub fn of(trigger: &PgTrigger) -> Self {
        let data = trigger.trigger_data();
        let tuple = match trigger.op() {
            Ok(PgTriggerOperation::Update) => data.tg_newtuple,
            _ => data.tg_trigtuple,
        };
        NewRow::on(tuple, data)
    }

    /// The row that an update replaces, to be read only.
    pub fn replaced(trigger: &PgTrigger) -> Self {
        let data = trigger.trigger_data();
        NewRow::on(data.tg_trigtuple, data)
    }

    fn on(tuple: pg_sys::HeapTuple, data: &pg_sys::TriggerData) -> Self {
        assert!(!tuple.is_null(), "not a trigger for each row");
        NewRow {
            tuple,
            // SAFETY: while the trigger runs, its table is open.
            descriptor: unsafe { (*data.tg_relation).rd_att },
            changed: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The value of a column, `None` for SQL null. Raises 42804 for a column of another type.
    pub fn get<T: FromDatum + IntoDatum>(&self, column: &'static CStr) -> Option<T> {
        let mut is_null = false;
        // SAFETY: the tuple belongs to the descriptor; both live while the trigger runs.
        unsafe {
            let number = self.number::<T>(column);
            let datum = pg_sys::SPI_getbinval(self.tuple, self.descriptor, number, &mut is_null);
            T::from_datum(datum, is_null)
        }
    }

    /// The value of a column that is never null.
    pub fn required<T: FromDatum + IntoDatum>(&self, column: &'static CStr) -> T {
        self.get(column)
            .unwrap_or_else(|| panic!("{column:?} is null"))
    }

    fn label_oid(&self, column: &'static CStr, label: &CStr) -> pg_sys::Oid {
        // SAFETY: the descriptor lives while the trigger runs.
        let enumeration = unsafe { columns::enumeration_of(self.descriptor, column) };
        labels::oid(enumeration, label)
    }

    fn number<T: IntoDatum>(&self, column: &'static CStr) -> i32 {
        // SAFETY: the descriptor lives while the trigger runs.
        unsafe { columns::number::<T>(self.descriptor, column) }
    }

    /// Sets a column. Raises 42804 for a column of another type.
    pub fn set<T: IntoDatum>(&mut self, column: &'static CStr, value: T) {
        let datum = value.into_datum().expect("no column is set to null");
        self.changed.push(self.number::<T>(column));
        self.values.push(datum);
    }

    /// Sets a column of an enumerated type.
    pub fn set_label(&mut self, column: &'static CStr, label: &CStr) {
        self.set(column, self.label_oid(column, label));
    }

    /// The row with its changes, for the trigger to return.
    pub fn finish<'t>(mut self) -> PgHeapTuple<'t, AllocatedByPostgres> {
        if self.changed.is_empty() {
            // SAFETY: the row as it came belongs to the descriptor.
            return unsafe { self.tuple_of(self.tuple) };
        }
        let mut nulls = vec![false; self.values.len()];
        // SAFETY: the three lists are equally long; numbers and values are of columns of this
        // table.
        unsafe {
            let changed = pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                self.descriptor,
                self.changed.len() as i32,
                self.changed.as_mut_ptr(),
                self.values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            self.tuple_of(changed)
        }
    }

    unsafe fn tuple_of<'t>(
        &self,
        tuple: pg_sys::HeapTuple,
    ) -> PgHeapTuple<'t, AllocatedByPostgres> {
        // SAFETY: the caller gives a tuple of this descriptor, which lives while the trigger runs.
        unsafe {
            PgHeapTuple::from_heap_tuple(PgTupleDesc::from_pg_unchecked(self.descriptor), tuple)
        }
    }
}
