//! The one database that the notifier serves: a process of Postgres cannot change its database.

use std::ffi::{CStr, CString};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::pg::database;

static NAME: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"devart"));

/// Defines the setting `devart.database`.
pub fn define_setting() {
    GucRegistry::define_string_guc(
        c"devart.database",
        c"The database whose wake-ups the notifier sends.",
        c"In other databases each transaction sends its NOTIFY itself, which lets commits wait for each other.",
        &NAME,
        GucContext::Postmaster,
        GucFlags::default(),
    );
}

/// Connects this background worker. Ends the process when there is no such database.
pub fn connect() {
    let name = name();
    BackgroundWorker::connect_worker_to_spi(Some(&name.to_string_lossy()), None);
}

/// Whether the database exists. Works without being connected to one.
pub fn exists() -> bool {
    let name = name();
    BackgroundWorker::transaction(|| database::exists(&name))
}

/// Whether somebody waits to drop, copy or rename the database, which cannot be done while we are
/// connected. They lock the database first, and then give the others five seconds to leave.
pub fn is_wanted_alone() -> bool {
    BackgroundWorker::transaction(database::is_wanted_alone)
}

fn name() -> CString {
    NAME.get().unwrap_or_else(|| CStr::to_owned(c""))
}
