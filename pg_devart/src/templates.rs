//! Templates of tasks.

use devart_core::argument_error::ArgumentError;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;

/// Replaces each `{{ path }}` in `template` by the value at that path of `variables`.
///
/// Errors: 22023 naming an unknown variable or an unclosed placeholder.
#[pg_extern(immutable, parallel_safe)]
fn render_template(template: &str, variables: JsonB) -> Result<String, ErrorReport> {
    devart_core::template::render(template, &variables.0)
        .map_err(|error| Error::from(ArgumentError::from(error)).into())
}
