//! What operators set (devart.system_settings), read where a statement would cost more than the work.

use pgrx::direct_function_call;
use pgrx::prelude::*;

use crate::index::{Index, Key};
use crate::raw_json::RawJsonb;
use crate::spi::Session;

const SETTINGS: Index = Index {
    schema: c"devart",
    table: c"system_settings",
    name: c"system_settings_pkey",
};

/// A setting that is a number; `None` when it is not there.
pub fn number(session: &Session, key: &str) -> Option<f64> {
    let value = value(session, key)?;
    // SAFETY: the argument is a jsonb; one that is no number raises an error.
    unsafe { direct_function_call(pg_sys::jsonb_float8, &[value.into_datum()]) }
}

/// Whether a setting that is a list contains `element`.
pub fn lists(session: &Session, key: &str, element: &str) -> bool {
    let Some(value) = value(session, key) else {
        return false;
    };
    let arguments = [value.into_datum(), element.into_datum()];
    // SAFETY: the arguments are a jsonb and a text.
    unsafe { direct_function_call(pg_sys::jsonb_exists, &arguments) }.unwrap_or(false)
}

fn value(session: &Session, key: &str) -> Option<RawJsonb> {
    SETTINGS.first(session, &[Key::equals(key)], |found| {
        found.required(c"value")
    })
}
