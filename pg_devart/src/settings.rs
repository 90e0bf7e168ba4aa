//! What operators set, as far as native functions ask for it: the one reader for Rust, as
//! `devart_private.setting` is for SQL. Both read a setting's row in devart.system_settings, or its
//! default in devart_private.setting_defaults where that row was deleted.

use std::rc::Rc;

use devart_core::backoff::Backoff;

use crate::pg::cached;
use crate::pg::index::{Index, Key};
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::Session;

const SETTINGS: Index = Index {
    schema: c"devart",
    table: c"system_settings",
    name: c"system_settings_pkey",
};
const DEFAULTS: Index = Index {
    schema: c"devart_private",
    table: c"setting_defaults",
    name: c"setting_defaults_pkey",
};

/// The settings.
pub struct Settings {
    /// How long a claim lasts, in seconds.
    pub lease_seconds: f64,
    /// After waiting so long a task counts one priority higher, in microseconds.
    pub aging_us: i64,
    /// How long a failed task waits before it is tried again.
    pub retry: Backoff,
    /// Whether messages about tasks are written, for agents that are pushed to.
    pub task_messages: bool,
}

/// The settings as they are now. Sessions keep them until a row of either table changes; a change
/// of the defaults is told as one of the settings.
pub fn current(session: &Session) -> Rc<Settings> {
    cached::get(session, &SETTINGS, "settings", |session| Settings {
        lease_seconds: number(session, "lease_seconds"),
        aging_us: (number(session, "priority_aging_seconds") * 1e6) as i64,
        retry: Backoff {
            base_seconds: number(session, "retry_base_seconds"),
            max_seconds: number(session, "retry_max_seconds"),
        },
        task_messages: lists(session, "outbox_topics", "rabbitmq.task"),
    })
}

fn number(session: &Session, key: &str) -> f64 {
    let number = value(session, key).number();
    number.unwrap_or_else(|| panic!("the setting {key} is null"))
}

fn lists(session: &Session, key: &str, element: &str) -> bool {
    value(session, key).contains(element)
}

fn value(session: &Session, key: &str) -> RawJsonb {
    let in_table = |table: &Index| {
        table.first(session, &[Key::equals(key)], |found| {
            found.required(c"value")
        })
    };
    in_table(&SETTINGS)
        .or_else(|| in_table(&DEFAULTS))
        .unwrap_or_else(|| panic!("there is no setting {key}"))
}
