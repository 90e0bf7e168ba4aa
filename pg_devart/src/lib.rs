//! pg_devart: the native functions of devart.
//!
//! They decide: who gets which task, whether a lease still holds, what is charged. The tables they
//! work on are ordinary objects made by `sql/`, so signatures use built-in types only and the
//! extension restores before any table exists.

mod agents;
mod api_keys;
mod caller;
mod error;
mod ids;
mod json;
mod money;
mod pg;
mod retired;
mod row_reader;
mod settings;
mod stops;
mod tasks;
mod templates;
mod wake;
mod webhooks;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

/// Called by Postgres when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    wake::init();
}
