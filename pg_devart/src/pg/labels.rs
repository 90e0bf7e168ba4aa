//! Labels of enumerated types. A value of such a type is the OID of its label.

use std::ffi::CStr;

use pgrx::pg_sys;

/// The value for a label of the type `enumeration`.
pub fn oid(enumeration: pg_sys::Oid, label: &CStr) -> pg_sys::Oid {
    // SAFETY: a look-up in the catalog's cache, whose entry is released after use.
    unsafe {
        let entry = pg_sys::SearchSysCache2(
            pg_sys::SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            enumeration.into(),
            label.as_ptr().into(),
        );
        assert!(!entry.is_null(), "the type has no label {label:?}");
        let oid = (*pg_sys::GETSTRUCT(entry).cast::<pg_sys::FormData_pg_enum>()).oid;
        pg_sys::ReleaseSysCache(entry);
        oid
    }
}
