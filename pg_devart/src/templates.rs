//! Templates of tasks.

use devart_core::argument_error::ArgumentError;
use devart_core::json::MAX_TASK_BYTES;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::json;
use crate::pg::raw_json::RawJsonb;

/// Replaces each `{{ path }}` in `template` by the value at that path of `variables`. Template,
/// variables and what comes of them are at most 256 KiB each.
///
/// Errors: 22023 naming an unknown variable or an unclosed placeholder, or what is too long.
#[pg_extern(immutable, parallel_safe)]
fn render_template(template: &str, variables: RawJsonb) -> Result<String, ErrorReport> {
    let variables = json::read("variables", &variables, MAX_TASK_BYTES)?;
    devart_core::template::render(template, &variables)
        .map_err(|error| Error::from(ArgumentError::from(error)).into())
}
