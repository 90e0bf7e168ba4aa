//! What operators set, as far as native functions ask for it: the one reader for Rust, as
//! `devart_private.setting` is for SQL. Both read a setting's row in devart.system_settings, or its
//! default in devart_private.setting_defaults where that row was deleted.

use std::ffi::CStr;
use std::rc::Rc;

use devart_core::backoff::Backoff;
use pgrx::JsonB;
use pgrx::prelude::*;
use rust_decimal::Decimal;

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
    /// How many tasks an agent may have in hand.
    pub max_tasks_in_hand: usize,
    /// How long a failed task waits before it is tried again.
    pub retry: Backoff,
    /// How long money may be set aside at once, in seconds.
    pub max_hold_seconds: f64,
    /// How much an agent may have set aside at once, in US dollars; `None`: as much as it likes.
    pub max_held_usd: Option<Decimal>,
    /// Whether messages about tasks are written, for agents that are pushed to.
    pub task_messages: bool,
}

/// Longer times, in seconds, are taken for mistakes: they would overflow what is reckoned in
/// microseconds. No other number is larger, either.
const LONGEST_SECONDS: f64 = 1e9;

/// The settings as they are now. Sessions keep them until a row of either table changes; a change
/// of the defaults is told as one of the settings.
///
/// A value that makes no sense counts as its default, with a warning. Raises 55000 when there is no
/// default either.
pub fn current(session: &Session) -> Rc<Settings> {
    cached::get(session, &SETTINGS, "settings", |session| Settings {
        lease_seconds: number(session, "lease_seconds"),
        aging_us: (number(session, "priority_aging_seconds") * 1e6) as i64,
        max_tasks_in_hand: number(session, "max_tasks_in_hand") as usize,
        retry: Backoff {
            base_seconds: number(session, "retry_base_seconds"),
            max_seconds: number(session, "retry_max_seconds"),
        },
        max_hold_seconds: number_or(session, "max_hold_seconds", LONGEST_SECONDS),
        max_held_usd: max_held_usd(session),
        task_messages: topics(session).contains("rabbitmq.task"),
    })
}

/// A setting that a database does not know whose last `devart migrate` was an older one's.
fn number_or(session: &Session, key: &str, unknown: f64) -> f64 {
    let is_set = SETTINGS.any(session, &[Key::equals(key)]);
    match is_set || default_of::<RawJsonb>(session, key, c"value").is_some() {
        true => number(session, key),
        false => unknown,
    }
}

fn number(session: &Session, key: &str) -> f64 {
    let schema = default_of::<JsonB>(session, key, c"schema");
    let limit = |name| schema.as_ref().and_then(|schema| schema.0[name].as_f64());
    let least = limit("minimum").unwrap_or(0.0);
    let most = limit("maximum").unwrap_or(LONGEST_SECONDS);
    sensible(session, key, |value| {
        let number = value.number();
        number.filter(|number| (least..=most.min(LONGEST_SECONDS)).contains(number))
    })
}

/// The most that can be set means that there is no limit.
fn max_held_usd(session: &Session) -> Option<Decimal> {
    let amount = number_or(session, "max_held_usd_per_agent", LONGEST_SECONDS);
    (amount < LONGEST_SECONDS).then(|| Decimal::try_from(amount).ok())?
}

fn topics(session: &Session) -> RawJsonb {
    sensible(session, "outbox_topics", |value| {
        value.is_list().then(|| value.clone())
    })
}

/// What `read` makes of the setting, or of its default where it makes nothing of the setting.
fn sensible<T>(session: &Session, key: &str, read: impl Fn(&RawJsonb) -> Option<T>) -> T {
    let set = SETTINGS.first(session, &[Key::equals(key)], |found| {
        found.required::<RawJsonb>(c"value")
    });
    if let Some(value) = set {
        match read(&value) {
            Some(value) => return value,
            None => warning!("the setting {key} makes no sense: its default is used"),
        }
    }
    let default = default_of::<RawJsonb>(session, key, c"value");
    let default = default.and_then(|value| read(&value));
    default.unwrap_or_else(|| no_default(key))
}

/// `None` before `devart migrate` has made the defaults.
fn default_of<T>(session: &Session, key: &str, column: &'static CStr) -> Option<T>
where
    T: FromDatum + IntoDatum,
{
    if !DEFAULTS.has_table() {
        return None;
    }
    DEFAULTS.first(session, &[Key::equals(key)], |found| found.required(column))
}

fn no_default(key: &str) -> ! {
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the setting {key} has no default"),
        "The database is older than the extension's library. Run: devart migrate"
    );
}
