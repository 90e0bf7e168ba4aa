//! The history of tasks (devart.task_events): one event for each change of a task's status.

use pgrx::datum::Uuid;
use pgrx::prelude::*;
use serde_json::json;

use crate::caller;
use crate::pg::append::Table;
use crate::pg::clock;

const TASK_EVENTS: Table = Table {
    schema: c"devart",
    name: c"task_events",
};
/// The sequence of the identity column.
const IDS: &std::ffi::CStr = c"task_events_id_seq";

/// A change of a task's status, now and by the caller.
pub struct Event {
    pub task_id: Uuid,
    /// Labels of devart.task_status; none before the first.
    pub from: Option<pg_sys::Oid>,
    pub to: pg_sys::Oid,
    pub agent_id: Option<Uuid>,
    pub attempt: i32,
    pub error: Option<String>,
}

/// Appends to the history. The current user must own it.
pub fn append(events: &[Event]) {
    let actor = caller::actor();
    TASK_EVENTS.append(events, |event, row| {
        row.set(c"task_id", event.task_id);
        row.set_next(c"id", IDS);
        row.set(c"from_status", event.from);
        row.set(c"to_status", event.to);
        row.set(c"actor", actor.as_str());
        row.set(c"agent_id", event.agent_id);
        row.set(c"attempt", event.attempt);
        row.set(c"at", clock::now());
        let detail = event.error.as_ref().map(|error| json!({"error": error}));
        row.set(c"detail", detail.map(pgrx::JsonB));
    });
}
