//! This session's database, and others of the server.

use std::ffi::CStr;

use pgrx::prelude::*;

/// The number of the database that this process is connected to, 0 without one.
pub fn own() -> u32 {
    // SAFETY: reads this process' state.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// Whether there is a database of this name, within a transaction. Works without being connected to one.
///
/// Reads the whole catalog, since a process without a database cannot count on finding its indexes.
pub fn exists(name: &CStr) -> bool {
    // SAFETY: all databases share this catalog. The key lives as long as the scan, and the name that
    // it points to longer.
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
        let no_snapshot = std::ptr::null_mut();
        let no_index = pg_sys::InvalidOid;
        let scan = pg_sys::systable_beginscan(catalog, no_index, false, no_snapshot, 1, &mut key);
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, mode);
        found
    }
}

/// Whether somebody holds this process' own database alone, or waits to: to drop, copy or rename it. Within a transaction.
///
/// The lock that each session takes when it connects tells, as it cannot be had beside theirs.
pub fn is_wanted_alone() -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        locktag_field3: own(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: does not wait; the end of the transaction gives the lock back.
    let outcome = unsafe { pg_sys::LockAcquire(&tag, mode, false, true) };
    outcome == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}
