//! A task in the hands of a worker: the row that claim and start give.

use pgrx::datum::{TimestampWithTimeZone, Uuid};

use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::Row;

/// The columns of a claimed task, in the order of `RETURNING` in claim.sql and start.sql; then the hold of its money.
pub type ClaimedTask = (
    Uuid,
    String,
    Option<String>,
    String,
    RawJsonb,
    i32,
    Uuid,
    TimestampWithTimeZone,
    Option<Uuid>,
    Option<Uuid>,
    Option<String>,
    Option<Uuid>,
);

/// Reads a claimed task from the first eleven columns of a row. `hold_id`: under which its money is set aside, if it costs any.
pub fn read(row: &Row, hold_id: Option<Uuid>) -> ClaimedTask {
    (
        row.required(1),
        row.required(2),
        row.get(3),
        row.required(4),
        row.required(5),
        row.required(6),
        row.required(7),
        row.required(8),
        row.get(9),
        row.get(10),
        row.get(11),
        hold_id,
    )
}

/// Declares a native function that hands out tasks. pgrx must see the names of the columns, and
/// every such function gives the same ones.
macro_rules! hands_out_tasks {
    ($(#[$doc:meta])* fn $name:ident($($arguments:tt)*) $body:block) => {
        $(#[$doc])*
        #[pg_extern(volatile, parallel_unsafe, security_definer)]
        #[search_path(pg_catalog, pg_temp)]
        fn $name($($arguments)*) -> Result<
            TableIterator<
                'static,
                (
                    name!(task_id, Uuid),
                    name!(title, String),
                    name!(description, Option<String>),
                    name!(priority, String),
                    name!(payload, RawJsonb),
                    name!(attempt, i32),
                    name!(lease_token, Uuid),
                    name!(lease_expires_at, TimestampWithTimeZone),
                    name!(service_id, Option<Uuid>),
                    name!(workflow_run_id, Option<Uuid>),
                    name!(traceparent, Option<String>),
                    name!(hold_id, Option<Uuid>),
                ),
            >,
            ErrorReport,
        > $body
    };
}
pub(crate) use hands_out_tasks;
