//! All that reaches past SPI into Postgres' own code; README.md beside this file says what each part relies on.

pub mod append;
pub mod cached;
pub mod columns;
pub mod index;
pub mod labels;
pub mod raw_json;
pub mod spi;
pub mod subtransaction;
pub mod transition;
