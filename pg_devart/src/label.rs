//! Labels of enumerated types, as statements select them: as text.

use std::fmt::Debug;
use std::str::FromStr;

use crate::pg::spi::Row;

/// What the label in a column stands for. Not for columns that can be null.
pub fn required<E: FromStr<Err: Debug>>(row: &Row, column: i32) -> E {
    let label: String = row.required(column);
    label
        .parse()
        .unwrap_or_else(|error| panic!("column {column}: {error:?}"))
}
