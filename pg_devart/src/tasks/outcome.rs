//! What a worker is told after it changed a task: the new status and what comes next.

use pgrx::datum::TimestampWithTimeZone;

use crate::pg::spi::Row;

/// Status, run_at and lease_expires_at of a task.
pub type Outcome = (
    String,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

/// Reads an outcome from the first three columns of a row.
pub fn read(row: &Row) -> Outcome {
    (row.required(1), row.get(2), row.get(3))
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
