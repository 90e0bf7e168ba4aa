//! Appends rows to a table without a statement, where setting one up would cost more than the row.
//!
//! Goes the way on which Postgres applies what a subscription brings: constraints are checked, indexes
//! kept and row triggers fired. Statement triggers are not fired, privileges and policies not asked, and
//! defaults not filled in.

use std::ffi::CStr;

use pgrx::direct_function_call;
use pgrx::prelude::*;

use crate::pg::columns;

/// Names a table.
pub struct Table {
    pub schema: &'static CStr,
    pub name: &'static CStr,
}

impl Table {
    /// Appends a row for each of `items`, which `fill` writes.
    pub fn append<T>(&self, items: &[T], fill: impl Fn(&T, &mut NewValues)) {
        // SAFETY: the table is open, under a lock that is kept until the transaction ends, while the
        // rest lives. After an error the end of the transaction frees everything.
        unsafe {
            let namespace = pg_sys::get_namespace_oid(self.schema.as_ptr(), false);
            let oid = pg_sys::get_relname_relid(self.name.as_ptr(), namespace);
            let table = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            let state = pg_sys::CreateExecutorState();
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            let target = open_target(table, state);
            let slot =
                pg_sys::MakeSingleTupleTableSlot((*table).rd_att, &raw const pg_sys::TTSOpsVirtual);
            pg_sys::AfterTriggerBeginQuery();
            for item in items {
                pg_sys::ExecClearTuple(slot);
                let mut values = NewValues::empty(slot, namespace);
                fill(item, &mut values);
                pg_sys::ExecStoreVirtualTuple(slot);
                pg_sys::ExecSimpleRelationInsert(target, state, slot);
            }
            pg_sys::AfterTriggerEndQuery(state);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::ExecCloseIndices(target);
            pg_sys::FreeExecutorState(state);
            pg_sys::table_close(table, pg_sys::NoLock as i32);
        }
    }
}

unsafe fn open_target(
    table: pg_sys::Relation,
    state: *mut pg_sys::EState,
) -> *mut pg_sys::ResultRelInfo {
    // SAFETY: the table is open; the target lives in the executor's own memory.
    unsafe {
        let size = size_of::<pg_sys::ResultRelInfo>();
        let target: *mut pg_sys::ResultRelInfo =
            pg_sys::MemoryContextAllocZero((*state).es_query_cxt, size).cast();
        // Not part of a range table, as there is no query.
        pg_sys::InitResultRelInfo(target, table, 0, std::ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(target, false);
        (*state).es_opened_result_relations =
            pg_sys::lappend((*state).es_opened_result_relations, target.cast());
        target
    }
}

/// The values of a row that is appended. What is not set is null.
pub struct NewValues {
    slot: *mut pg_sys::TupleTableSlot,
    namespace: pg_sys::Oid,
}

impl NewValues {
    unsafe fn empty(slot: *mut pg_sys::TupleTableSlot, namespace: pg_sys::Oid) -> Self {
        // SAFETY: the slot has as many values as its descriptor has columns.
        unsafe {
            let columns = (*(*slot).tts_tupleDescriptor).natts as usize;
            std::slice::from_raw_parts_mut((*slot).tts_isnull, columns).fill(true);
        }
        NewValues { slot, namespace }
    }

    pub fn set(&mut self, column: &'static CStr, value: impl IntoDatum) {
        let Some(datum) = value.into_datum() else {
            return;
        };
        // SAFETY: the number is that of a column of the slot's row.
        unsafe {
            let number = columns::number((*self.slot).tts_tupleDescriptor, column) as usize;
            *(*self.slot).tts_values.add(number - 1) = datum;
            *(*self.slot).tts_isnull.add(number - 1) = false;
        }
    }

    /// Takes the next number of a sequence in the table's schema.
    pub fn set_next(&mut self, column: &'static CStr, sequence: &CStr) {
        // SAFETY: looks a sequence up and advances it; nextval refuses what is none.
        let next: Option<i64> = unsafe {
            let sequence = pg_sys::get_relname_relid(sequence.as_ptr(), self.namespace);
            direct_function_call(pg_sys::nextval_oid, &[sequence.into_datum()])
        };
        self.set(column, next);
    }
}
