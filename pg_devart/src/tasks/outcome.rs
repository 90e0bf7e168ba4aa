//! What a worker is told after it changed a task: the new status and what comes next.

use pgrx::datum::TimestampWithTimeZone;

use crate::pg::spi::Row;
use crate::row_reader::RowReader;

/// What is selected of a task that a worker changed; [`read`] reads it.
macro_rules! outcome_columns {
    () => {
        include_str!("outcome_columns.sql")
    };
}
pub(crate) use outcome_columns;

/// Status, run_at and lease_expires_at of a task.
pub type Outcome = (
    String,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

/// Reads outcome_columns.sql, in its order.
pub fn read(row: &Row) -> Outcome {
    let mut columns = RowReader::of(row);
    (columns.required(), columns.optional(), columns.optional())
}

/// Declares a native function that changes a task under its lease and tells the outcome.
macro_rules! changes_leased_task {
    ($(#[$doc:meta])* fn $name:ident($($arguments:tt)*) $body:block) => {
        $(#[$doc])*
        #[pg_extern(volatile, parallel_unsafe, security_definer)]
        #[search_path(pg_catalog, pg_temp)]
        fn $name($($arguments)*) -> Result<
            TableIterator<
                'static,
                (
                    name!(status, String),
                    name!(run_at, Option<TimestampWithTimeZone>),
                    name!(lease_expires_at, Option<TimestampWithTimeZone>),
                ),
            >,
            ErrorReport,
        > $body
    };
}
pub(crate) use changes_leased_task;
