//! What a background worker asks of Postgres beyond what pgrx offers.

use std::ffi::c_int;

use pgrx::prelude::*;

/// Whether the server is starting and loads what is in `shared_preload_libraries`.
pub fn server_starts() -> bool {
    // SAFETY: read by the one thread there is.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Ends at SIGTERM as sessions do: at the next safe point, also while waiting for a lock.
pub fn obey_sigterm() {
    #[cfg(not(feature = "pg18"))]
    use pg_sys::pqsignal;
    #[cfg(feature = "pg18")]
    use pg_sys::pqsignal_be as pqsignal;

    unsafe extern "C-unwind" {
        fn die(signal: c_int);
    }
    // SAFETY: sets up signals before anything else happens, as background workers do.
    unsafe {
        pqsignal(pg_sys::SIGTERM as c_int, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Has `tidy_up` run however this process ends, while its shared memory is still there. It must not fail.
pub fn before_exit(tidy_up: fn()) {
    // SAFETY: the callback is a function of this library, which is never unloaded, and gets what is
    // given here: a function.
    unsafe { pg_sys::before_shmem_exit(Some(on_exit), pg_sys::Datum::from(tidy_up as usize)) };
}

#[pg_guard]
unsafe extern "C-unwind" fn on_exit(_code: c_int, tidy_up: pg_sys::Datum) {
    // SAFETY: `before_exit` gave a function without arguments.
    let tidy_up: fn() = unsafe { std::mem::transmute(tidy_up.value()) };
    tidy_up();
}

/// Ends this process. Its exit status has the server start another one.
pub fn end() -> ! {
    // SAFETY: the way to end a process of Postgres.
    unsafe { pg_sys::proc_exit(1) };
    // The bindings of 18 do not say that it never returns.
    #[cfg(feature = "pg18")]
    unreachable!("the process has ended")
}
