//! All that reaches past SPI into Postgres' own code. README.md beside this file says what each part
//! relies on. Nothing else of the extension has a line that is unsafe or depends on the version.

pub mod append;
pub mod cached;
pub mod clock;
pub mod columns;
pub mod database;
pub mod index;
mod json_tree;
pub mod labels;
pub mod latch;
pub mod new_row;
pub mod notify;
pub mod planner;
mod private_lock;
pub mod raw_json;
pub mod session_user;
pub mod shared_memory;
pub mod snapshot;
pub mod spi;
pub mod subtransaction;
pub mod table_lock;
pub mod transaction;
pub mod transition;
mod usable;
pub mod worker;
