//! Statements that are planned once per session and then only executed.
//!
//! pgrx offers kept plans, but lets Postgres choose between generic and custom ones; on the hot
//! path five custom plannings and the comparison cost more than the work, and a plan made while a
//! table was small must not fall back to scanning it. So this module asks for a generic plan, and
//! [`planner`] switches the scanning plan types off whenever it is made.

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::marker::PhantomData;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::planner;

/// A statement with bound arguments, planned at its first use in the session.
pub struct Statement {
    sql: &'static str,
    argument_types: &'static [pg_sys::Oid],
    plan: Cell<Option<pg_sys::SPIPlanPtr>>,
}

impl Statement {
    pub const fn new(sql: &'static str, argument_types: &'static [pg_sys::Oid]) -> Self {
        Statement {
            sql,
            argument_types,
            plan: Cell::new(None),
        }
    }

    /// Runs the statement with a snapshot of its own and gives all rows.
    ///
    /// Raises the Postgres error of the statement, SQLSTATE kept.
    pub fn rows<'s>(&self, _spi: &'s Session, arguments: &[DatumWithOid]) -> Rows<'s> {
        let (mut values, nulls) = split(arguments);
        assert_eq!(values.len(), self.argument_types.len(), "{}", self.sql);
        let plan = self.plan.get().unwrap_or_else(|| self.prepare());
        // SAFETY: the plan is kept and belongs to this session; values and nulls outlive the call.
        // The entry of `_spi` proves that SPI is connected.
        unsafe {
            let status =
                pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), false, 0);
            assert!(status >= 0, "SPI refused a statement with code {status}");
            Rows::of_last_statement()
        }
    }

    fn prepare(&self) -> pg_sys::SPIPlanPtr {
        let sql = CString::new(self.sql).expect("statements contain no zero byte");
        let mut types = self.argument_types.to_vec();
        planner::install();
        // SAFETY: SPI is connected; sql and types outlive the call. A kept plan lives as long as
        // the session, which is what the statics that hold statements need.
        unsafe {
            let plan = pg_sys::SPI_prepare_cursor(
                sql.as_ptr(),
                types.len() as i32,
                types.as_mut_ptr(),
                pg_sys::CURSOR_OPT_GENERIC_PLAN as i32 | planner::THROUGH_INDEXES,
            );
            assert!(!plan.is_null(), "SPI refused to prepare a statement");
            pg_sys::SPI_keepplan(plan);
            self.plan.set(Some(plan));
            plan
        }
    }
}

fn split(arguments: &[DatumWithOid]) -> (Vec<pg_sys::Datum>, Vec<c_char>) {
    arguments
        .iter()
        .map(|argument| match argument.datum() {
            Some(datum) => (datum.sans_lifetime(), b' ' as c_char),
            None => (pg_sys::Datum::from(0usize), b'n' as c_char),
        })
        .unzip()
}

/// A connection to SPI: proof that statements can run.
pub struct Session(PhantomData<*const ()>);

/// Connects to SPI for the time of `work`.
pub fn connect<R>(work: impl FnOnce(&Session) -> R) -> R {
    Spi::connect_mut(|_| work(&Session(PhantomData)))
}

/// Does `work` with the rights of the owner of the trigger's table, as a definer function would.
///
/// SECURITY DEFINER with a pinned search_path costs a trigger more than its own work. Without the
/// pinned path, statements run under it must qualify every name: functions, types and operators too.
pub fn as_owner<R>(trigger: &PgTrigger, work: impl FnOnce() -> R) -> R {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: while the trigger runs, its table is open. After an error in between, Postgres restores
    // user and context when it aborts the (sub)transaction.
    unsafe {
        let owner = (*(*trigger.trigger_data().tg_relation).rd_rel).relowner;
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let restricted = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
        pg_sys::SetUserIdAndSecContext(owner, restricted);
        let result = work();
        pg_sys::SetUserIdAndSecContext(user, context);
        result
    }
}

/// Lets statements read the transition tables of a trigger by their names.
pub fn register_transition_tables(_session: &Session, trigger: &PgTrigger) {
    let data: *const pg_sys::TriggerData = trigger.trigger_data();
    // SAFETY: SPI is connected, as `_session` proves, and forgets the tables when it is left, before
    // the trigger ends. It only reads the data.
    let status = unsafe { pg_sys::SPI_register_trigger_data(data.cast_mut()) };
    assert!(
        status >= 0,
        "SPI refused the transition tables with code {status}"
    );
}

/// The rows of a statement. Values are copied out, so they may outlive it.
pub struct Rows<'s> {
    table: *mut pg_sys::SPITupleTable,
    count: usize,
    session: PhantomData<&'s Session>,
}

impl<'s> Rows<'s> {
    /// SAFETY: SPI must be connected, and a statement have run just before.
    unsafe fn of_last_statement() -> Self {
        // SAFETY: SPI's globals are set by the statement; nothing runs at the same time.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            let count = if table.is_null() {
                0
            } else {
                pg_sys::SPI_processed as usize
            };
            Rows {
                table,
                count,
                session: PhantomData,
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.count).map(|index| Row { rows: self, index })
    }
}

/// One row of a statement.
pub struct Row<'r> {
    rows: &'r Rows<'r>,
    index: usize,
}

impl Row<'_> {
    /// The value of a column, counted from 1; `None` for SQL null.
    pub fn get<T: FromDatum>(&self, column: i32) -> Option<T> {
        let mut is_null = false;
        // SAFETY: the table lives until SPI is left, which `session` outlasts; the index is below
        // the table's count. Callers ask for the type that their statement selects.
        unsafe {
            let table = &*self.rows.table;
            let tuple = *table.vals.add(self.index);
            let datum = pg_sys::SPI_getbinval(tuple, table.tupdesc, column, &mut is_null);
            T::from_datum(datum, is_null)
        }
    }

    /// The value of a column that is never null.
    pub fn required<T: FromDatum>(&self, column: i32) -> T {
        self.get(column)
            .unwrap_or_else(|| panic!("column {column} is null"))
    }
}

/// Declares a statement kept per session: `statement!(NAME, "sql", [types])`.
macro_rules! statement {
    ($(#[$doc:meta])* $name:ident, $sql:expr, [$($argument:ident),* $(,)?]) => {
        thread_local! {
            $(#[$doc])*
            static $name: $crate::pg::spi::Statement = const {
                $crate::pg::spi::Statement::new($sql, &[$(pgrx::pg_sys::$argument),*])
            };
        }
    };
}
pub(crate) use statement;
