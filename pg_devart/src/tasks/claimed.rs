//! A claimed task: what a worker is told of it.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use super::worker::Worker;
use crate::pg::raw_json::RawJsonb;
use crate::row_reader::RowReader;
use crate::stops::Work;

/// What is selected of a task that a worker gets; [`Claimed::read`] reads it.
macro_rules! claimed_columns {
    () => {
        include_str!("claimed_columns.sql")
    };
}
pub(crate) use claimed_columns;

/// The columns of a function that hands out tasks.
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

/// What begins when the worker gets this task.
pub fn work(worker: &Worker, task: &ClaimedTask) -> Work {
    worker.work(Some(task.0), task.8, task.9)
}

/// A task that was picked or started. One that costs money is not handed out yet.
pub struct Claimed {
    pub task_id: Uuid,
    title: String,
    description: Option<String>,
    priority: String,
    payload: RawJsonb,
    pub attempt: i32,
    lease_token: Uuid,
    lease_expires_at: TimestampWithTimeZone,
    service_id: Option<Uuid>,
    workflow_run_id: Option<Uuid>,
    traceparent: Option<String>,
    /// `None` for a task that costs nothing.
    estimate: Option<AnyNumeric>,
}

impl Claimed {
    /// Reads claimed_columns.sql, in its order.
    pub fn read(columns: &mut RowReader) -> Self {
        Claimed {
            task_id: columns.required(),
            title: columns.required(),
            description: columns.optional(),
            priority: columns.required(),
            payload: columns.required(),
            attempt: columns.required(),
            lease_token: columns.required(),
            lease_expires_at: columns.required(),
            service_id: columns.optional(),
            workflow_run_id: columns.optional(),
            traceparent: columns.optional(),
            estimate: columns.optional(),
        }
    }

    /// What its worker needs to know.
    pub fn payload(&self) -> &RawJsonb {
        &self.payload
    }

    /// Of a task that costs money: its service and what is asked for.
    pub fn cost(&self) -> Option<(Uuid, &AnyNumeric)> {
        Some((self.service_id?, self.estimate.as_ref()?))
    }

    /// What the worker is told. `hold_id`: under which its money is set aside, if it costs any.
    pub fn handed_out(self, hold_id: Option<Uuid>) -> ClaimedTask {
        (
            self.task_id,
            self.title,
            self.description,
            self.priority,
            self.payload,
            self.attempt,
            self.lease_token,
            self.lease_expires_at,
            self.service_id,
            self.workflow_run_id,
            self.traceparent,
            hold_id,
        )
    }
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
