//! Reads the columns of a row one after the other, in the order in which its statement gives them.

use std::fmt::Debug;
use std::str::FromStr;

use pgrx::prelude::*;

use crate::pg::spi::Row;

/// A row, and how far it is read. Costs nothing per column, as looking names up would.
pub struct RowReader<'r> {
    row: &'r Row<'r>,
    /// From 1 on; 0 before the first.
    column: i32,
}

impl<'r> RowReader<'r> {
    /// Before the first column.
    pub fn of(row: &'r Row<'r>) -> Self {
        RowReader { row, column: 0 }
    }

    /// The next column; `None` for SQL null.
    pub fn optional<T: FromDatum>(&mut self) -> Option<T> {
        self.column += 1;
        self.row.get(self.column)
    }

    /// The next column, which is never null.
    pub fn required<T: FromDatum>(&mut self) -> T {
        let value = self.optional();
        value.unwrap_or_else(|| panic!("column {} is null", self.column))
    }

    /// The next column, which is the text of a label and never null.
    pub fn label<E: FromStr<Err: Debug>>(&mut self) -> E {
        let label: String = self.required();
        let parsed = label.parse();
        parsed.unwrap_or_else(|error| panic!("column {}: {error:?}", self.column))
    }
}
