//! What operators set (devart.system_settings), as far as it decides about claims and new tasks.

use std::rc::Rc;

use crate::pg::cached;
use crate::pg::index::{Index, Key};
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::Session;

const SETTINGS: Index = Index {
    schema: c"devart",
    table: c"system_settings",
    name: c"system_settings_pkey",
};

/// The settings, with their defaults where a row is missing.
pub struct Settings {
    /// How long a claim lasts, in seconds.
    pub lease_seconds: f64,
    /// After waiting so long a task counts one priority higher, in microseconds.
    pub aging_us: i64,
    /// Whether messages about tasks are written, for agents that are pushed to.
    pub task_messages: bool,
}

/// The settings as they are now.
pub fn current(session: &Session) -> Rc<Settings> {
    cached::get(session, &SETTINGS, "settings", |session| Settings {
        lease_seconds: number(session, "lease_seconds").unwrap_or(60.0),
        aging_us: (number(session, "priority_aging_seconds").unwrap_or(3600.0) * 1e6) as i64,
        task_messages: lists(session, "outbox_topics", "rabbitmq.task"),
    })
}

fn number(session: &Session, key: &str) -> Option<f64> {
    value(session, key)?.number()
}

fn lists(session: &Session, key: &str, element: &str) -> bool {
    value(session, key).is_some_and(|value| value.contains(element))
}

fn value(session: &Session, key: &str) -> Option<RawJsonb> {
    SETTINGS.first(session, &[Key::equals(key)], |found| {
        found.required(c"value")
    })
}
