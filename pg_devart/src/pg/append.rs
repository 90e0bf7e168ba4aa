//! Appends rows to a table without a statement, where setting one up would cost more than the row.
//!
//! Goes the way on which Postgres applies what a subscription brings: constraints are checked, indexes
//! kept, row triggers fired and stored generated columns computed. Statement triggers are not fired,
//! privileges and policies not asked. What a row leaves out gets the default of its column.

use std::ffi::CStr;

use pgrx::direct_function_call;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;

use crate::pg::columns;

/// Names a table.
pub struct Table {
    pub schema: &'static CStr,
    pub name: &'static CStr,
}

impl Table {
    /// Appends a row for each of `items`, which `fill` writes.
    ///
    /// Raises 42809 when that is not a plain table or a partition, where a row would go elsewhere.
    pub fn append<T>(&self, items: &[T], fill: impl Fn(&T, &mut NewValues)) {
        // SAFETY: the table is open, under a lock that is kept until the transaction ends, while the
        // rest lives. After an error the end of the transaction frees everything.
        unsafe {
            let namespace = pg_sys::get_namespace_oid(self.schema.as_ptr(), false);
            let oid = pg_sys::get_relname_relid(self.name.as_ptr(), namespace);
            let table = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            self.refuse_unless_plain(table);
            let mut target = Target::open(table);
            for item in items {
                target.append(namespace, |row| fill(item, row));
            }
            target.close();
            pg_sys::table_close(table, pg_sys::NoLock as i32);
        }
    }

    unsafe fn refuse_unless_plain(&self, table: pg_sys::Relation) {
        // SAFETY: the caller has the table open.
        let kind = unsafe { (*(*table).rd_rel).relkind };
        if kind != pg_sys::RELKIND_RELATION as i8 {
            ereport!(
                ERROR,
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("{:?} in {:?} is not a plain table", self.name, self.schema)
            );
        }
    }
}

/// A table that takes rows, with its defaults.
struct Target {
    state: *mut pg_sys::EState,
    table: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    defaults: Vec<Default>,
}

/// What a column gets that a row leaves out.
struct Default {
    column: i32,
    /// Made for the first row that needs it.
    value: Option<*mut pg_sys::ExprState>,
}

impl Target {
    unsafe fn open(table: pg_sys::Relation) -> Self {
        // SAFETY: the caller has the table open; all else lives in the executor's own memory.
        unsafe {
            let state = pg_sys::CreateExecutorState();
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            let size = size_of::<pg_sys::ResultRelInfo>();
            let target: *mut pg_sys::ResultRelInfo =
                pg_sys::MemoryContextAllocZero((*state).es_query_cxt, size).cast();
            // Not part of a range table, as there is no query.
            pg_sys::InitResultRelInfo(target, table, 0, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(target, false);
            (*state).es_opened_result_relations =
                pg_sys::lappend((*state).es_opened_result_relations, target.cast());
            pg_sys::AfterTriggerBeginQuery();
            Target {
                state,
                table: target,
                slot: pg_sys::MakeSingleTupleTableSlot(
                    (*table).rd_att,
                    &raw const pg_sys::TTSOpsVirtual,
                ),
                defaults: defaults_of((*table).rd_att),
            }
        }
    }

    /// What the row takes in memory is free again after it.
    unsafe fn append(&mut self, namespace: pg_sys::Oid, fill: impl FnOnce(&mut NewValues)) {
        // SAFETY: all is open, see `Table::append`. The memory outlives the row, which the table and
        // its triggers copy.
        unsafe {
            let context = pg_sys::MakePerTupleExprContext(self.state);
            let memory = (*context).ecxt_per_tuple_memory;
            pg_sys::ExecClearTuple(self.slot);
            PgMemoryContexts::For(memory).switch_to(|_| {
                let mut values = NewValues::empty(self.slot, namespace);
                fill(&mut values);
                self.fill_defaults(&mut values, context);
            });
            pg_sys::ExecStoreVirtualTuple(self.slot);
            pg_sys::ExecSimpleRelationInsert(self.table, self.state, self.slot);
            pg_sys::MemoryContextReset(memory);
        }
    }

    unsafe fn fill_defaults(&mut self, values: &mut NewValues, context: *mut pg_sys::ExprContext) {
        for default in &mut self.defaults {
            if values.named.contains(&default.column) {
                continue;
            }
            // SAFETY: all is open, see `Table::append`; the column has a default.
            unsafe {
                let (table, state) = (self.table, self.state);
                let value = *default
                    .value
                    .get_or_insert_with(|| prepare_default(table, state, default.column));
                let mut is_null = false;
                let datum = pg_sys::ExecEvalExpr(value, context, &mut is_null);
                values.put(default.column, (!is_null).then_some(datum));
            }
        }
    }

    unsafe fn close(self) {
        // SAFETY: all is open, and not used after this.
        unsafe {
            pg_sys::AfterTriggerEndQuery(self.state);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::ExecCloseIndices(self.table);
            pg_sys::FreeExecutorState(self.state);
        }
    }
}

/// In memory that outlives the row: constants of the expression are used for each.
unsafe fn prepare_default(
    table: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    column: i32,
) -> *mut pg_sys::ExprState {
    // SAFETY: the caller has both open.
    unsafe {
        PgMemoryContexts::For((*state).es_query_cxt).switch_to(|_| {
            let value = pg_sys::build_column_default((*table).ri_RelationDesc, column);
            pg_sys::ExecPrepareExpr(value.cast(), state)
        })
    }
}

/// The columns that have a default, or take numbers by themselves.
unsafe fn defaults_of(descriptor: pg_sys::TupleDesc) -> Vec<Default> {
    // SAFETY: the caller gives the descriptor of an open table.
    let has_default = |column: &i32| unsafe {
        let attribute = &*columns::attribute(descriptor, *column);
        let is_computed = attribute.attgenerated != 0;
        let is_identity = attribute.attidentity != 0;
        !attribute.attisdropped && !is_computed && (attribute.atthasdef || is_identity)
    };
    let columns = 1..=unsafe { (*descriptor).natts };
    let unmade = |column| Default {
        column,
        value: None,
    };
    columns.filter(has_default).map(unmade).collect()
}

/// The values of a row that is appended. What is not set gets its default, or is null.
pub struct NewValues {
    slot: *mut pg_sys::TupleTableSlot,
    namespace: pg_sys::Oid,
    /// The numbers of the columns that were set, also to null.
    named: Vec<i32>,
}

impl NewValues {
    unsafe fn empty(slot: *mut pg_sys::TupleTableSlot, namespace: pg_sys::Oid) -> Self {
        // SAFETY: the slot has as many values as its descriptor has columns.
        unsafe {
            let columns = (*(*slot).tts_tupleDescriptor).natts as usize;
            std::slice::from_raw_parts_mut((*slot).tts_isnull, columns).fill(true);
        }
        NewValues {
            slot,
            namespace,
            named: Vec::new(),
        }
    }

    /// Sets a column. Raises 42804 for a column of another type.
    pub fn set<T: IntoDatum>(&mut self, column: &'static CStr, value: T) {
        // SAFETY: the number is that of a column of the slot's row.
        unsafe {
            let number = columns::number::<T>((*self.slot).tts_tupleDescriptor, column);
            self.put(number, value.into_datum());
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

    unsafe fn put(&mut self, number: i32, value: Option<pg_sys::Datum>) {
        self.named.push(number);
        // SAFETY: the caller gives the number of a column of the slot's row.
        unsafe {
            let place = number as usize - 1;
            *(*self.slot).tts_isnull.add(place) = value.is_none();
            *(*self.slot).tts_values.add(place) = value.unwrap_or(pg_sys::Datum::null());
        }
    }
}
