//! Whom the session acts for, and what was set for it.

use std::ffi::CStr;

use pgrx::pg_sys;

/// The role that SET ROLE chose, or that logged in. Functions with their owner's rights still see it.
pub fn outer() -> pg_sys::Oid {
    // SAFETY: reads the session's state.
    unsafe { pg_sys::GetOuterUserId() }
}

/// The name of [`outer`]; `None` for a role dropped meanwhile.
pub fn outer_name() -> Option<String> {
    // SAFETY: gives a palloc'ed, zero-terminated name, or null.
    unsafe { text(pg_sys::GetUserNameFromId(outer(), true)) }
}

/// The role of this name. Invalid, which equals no user, when there is none.
pub fn role(name: &CStr) -> pg_sys::Oid {
    // SAFETY: a catalog look-up within a transaction.
    unsafe { pg_sys::get_role_oid(name.as_ptr(), true) }
}

/// Whether the role `member` has the rights of `role` without taking it on. Superusers have those of
/// every role, also of one that does not exist.
pub fn has_rights_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the catalog's caches.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

/// The value of a setting; `None` where nobody has set it.
pub fn setting(name: &CStr) -> Option<String> {
    // SAFETY: gives null or a zero-terminated string that lives until the setting changes.
    unsafe { text(pg_sys::GetConfigOption(name.as_ptr(), true, false)) }
}

/// # Safety
/// Null or zero-terminated.
unsafe fn text(value: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
    Some(value.to_string_lossy().into_owned())
}
