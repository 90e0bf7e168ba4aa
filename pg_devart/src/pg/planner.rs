//! Plans the statements of [`super::spi`] with the scanning plan types switched off.
//!
//! Whenever Postgres plans one of them, also in the middle of executing it because a table has changed;
//! and only while it plans: what the statement then runs (triggers, functions) sees the session's own
//! settings.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};

use pgrx::prelude::*;

/// The cursor option of our statements. Postgres hands options through to its planner, and gives no
/// meaning to this one.
pub const THROUGH_INDEXES: c_int = 1 << 30;

/// What has a statement find its rows through an index, whatever the statistics say at the moment.
const SWITCHES: [&CStr; 5] = [
    c"enable_seqscan",
    c"enable_bitmapscan",
    c"enable_hashjoin",
    c"enable_mergejoin",
    c"jit",
];

thread_local! {
    static IS_INSTALLED: Cell<bool> = const { Cell::new(false) };
    static NEXT: Cell<pg_sys::planner_hook_type> = const { Cell::new(None) };
}

/// Has Postgres ask this module for plans from now on.
pub fn install() {
    if !IS_INSTALLED.replace(true) {
        // SAFETY: the hook is a function of this library, which is never unloaded, and calls on.
        unsafe {
            NEXT.set(pg_sys::planner_hook);
            pg_sys::planner_hook = Some(plan);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: hands on what Postgres gave. An error in between ends the nest level, too: Postgres ends
    // all those of an aborting (sub)transaction.
    unsafe {
        if options & THROUGH_INDEXES == 0 {
            return plan_by_next(query, text, options, parameters);
        }
        let level = pg_sys::NewGUCNestLevel();
        switch_off();
        let plan = plan_by_next(query, text, options, parameters);
        pg_sys::AtEOXact_GUC(true, level);
        plan
    }
}

unsafe fn plan_by_next(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the caller's promise; an error of the other hook passes this as one of Rust.
    unsafe {
        match NEXT.get() {
            None => pg_sys::standard_planner(query, text, options, parameters),
            Some(next) => pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                next(query, text, options, parameters)
            }),
        }
    }
}

/// Until the nest level of settings ends.
unsafe fn switch_off() {
    for name in SWITCHES {
        // SAFETY: names and value are static and zero-terminated.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                c"off".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}
