//! The one database that the notifier serves: a process of Postgres cannot change its database.

use std::ffi::{CStr, CString};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

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
///
/// Reads the whole catalog, since a process without a database cannot count on finding its indexes.
pub fn exists() -> bool {
    let name = name();
    BackgroundWorker::transaction(|| {
        // SAFETY: within a transaction; all databases share this catalog. The key lives as long as
        // the scan, and the name that it points to longer.
        unsafe {
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &mut key,
                pg_sys::Anum_pg_database_datname as i16,
                pg_sys::BTEqualStrategyNumber as u16,
                pg_sys::F_NAMEEQ.into(),
                name.as_ptr().into(),
            );
            let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let catalog = pg_sys::table_open(pg_sys::DatabaseRelationId, mode);
            let scan = pg_sys::systable_beginscan(
                catalog,
                pg_sys::InvalidOid,
                false,
                std::ptr::null_mut(),
                1,
                &mut key,
            );
            let found = !pg_sys::systable_getnext(scan).is_null();
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(catalog, mode);
            found
        }
    })
}

/// Whether somebody waits to drop, copy or rename the database, which cannot be done while we are connected.
///
/// They lock the database first, and then give the others five seconds to leave. The lock that each
/// session takes when it connects tells, as it cannot be had beside theirs.
pub fn is_wanted_alone() -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        // SAFETY: reads this process' state.
        locktag_field3: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    BackgroundWorker::transaction(|| {
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: does not wait; the end of the transaction gives the lock back.
        let outcome = unsafe { pg_sys::LockAcquire(&tag, mode, false, true) };
        outcome == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    })
}

fn name() -> CString {
    NAME.get().unwrap_or_else(|| CStr::to_owned(c""))
}
