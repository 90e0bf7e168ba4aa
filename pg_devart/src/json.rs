//! JSON that somebody gives: refused where it enters when some part of devart could not read it, and
//! told of where it is already (docs/decisions/readable-json.md).

use devart_core::argument_error::ArgumentError;
use devart_core::json::{JsonProblem, MAX_READABLE_BYTES};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Value, json};

use crate::error::Error;
use crate::pg::raw_json::RawJsonb;

/// Refuses the argument `field` when it is longer than `most` bytes of text or not readable.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub fn check(field: &'static str, value: &RawJsonb, most: usize) -> Result<(), Error> {
    value
        .check(most)
        .map_err(|problem| Error::invalid(field, problem.to_string()))
}

/// The argument `field` as Rust has it.
///
/// # Errors
/// As [`check`].
pub fn read(field: &'static str, value: &RawJsonb, most: usize) -> Result<Value, Error> {
    check(field, value, most)?;
    value
        .read()
        .map_err(|error| Error::invalid(field, format!("cannot be read: {error}")))
}

/// Why a reader cannot be given this, if so.
pub fn unreadable(value: &RawJsonb) -> Option<JsonProblem> {
    value.check(MAX_READABLE_BYTES).err()
}

/// The value; or, where a reader could not read it, {"unreadable": "<why>"}. For lists: one bad row
/// must not hide the others.
#[pg_extern(immutable, parallel_safe)]
fn readable_json(value: RawJsonb) -> RawJsonb {
    match unreadable(&value) {
        None => value,
        Some(problem) => RawJsonb::of(&json!({"unreadable": problem.to_string()})),
    }
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// For domains over jsonb: true for what everybody can read and takes at most `most` bytes as
    /// text.
    ///
    /// Errors: 22023 naming `field`, and what is wrong.
    #[pg_extern(immutable, parallel_safe)]
    fn check_json(value: RawJsonb, field: &str, most: i32) -> Result<bool, ErrorReport> {
        match value.check(usize::try_from(most).unwrap_or(0)) {
            Ok(()) => Ok(true),
            Err(problem) => {
                let error = ArgumentError::new(field.to_owned(), problem.to_string());
                Err(Error::from(error).into())
            }
        }
    }
}
