//! Being told how the transaction ends.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::prelude::*;

/// The number of a subtransaction within its transaction. One that starts later has a higher one.
pub type Subtransaction = u32;

/// The subtransaction that runs at the moment, or the transaction itself.
pub fn current_subtransaction() -> Subtransaction {
    // SAFETY: reads the transaction's state.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Refuses, as Postgres does (25006), what writes in a transaction that only reads, on a standby for
/// instance. For what locks rows before its first statement that Postgres would refuse by itself.
pub fn require_writable(what: &std::ffi::CStr) {
    // SAFETY: reads the transaction's state and the name, which outlives the call; raises at most.
    unsafe { pg_sys::PreventCommandIfReadOnly(what.as_ptr()) }
}

/// Raises 0A000: the transaction may be committed or rolled back, but not prepared.
pub fn refuse_prepare(message: &'static str) -> ! {
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        message
    );
}

/// What is to be done when a transaction of this session ends. All but the first two must not fail
/// and run no statement: there is no transaction any more that could be aborted.
pub struct Ends {
    /// The last moment at which the transaction can still do something.
    pub before_commit: fn(),
    /// The last moment before it is prepared, to be committed by whichever session. May fail.
    pub before_prepare: fn(),
    /// Its rows are visible to all.
    pub committed: fn(),
    /// It was rolled back, or prepared: which session will commit that is not known.
    pub given_up: fn(),
    /// This subtransaction is rolled back, and so are those that started after it.
    pub subtransaction_rolled_back: fn(Subtransaction),
}

impl Ends {
    /// Nothing is to be done.
    pub const NOTHING: Ends = Ends {
        before_commit: || (),
        before_prepare: || (),
        committed: || (),
        given_up: || (),
        subtransaction_rolled_back: |_| (),
    };
}

/// Has a session do something when its transactions end.
pub struct Watch {
    ends: Ends,
    has_begun: AtomicBool,
}

impl Watch {
    pub const fn new(ends: Ends) -> Self {
        Watch {
            ends,
            has_begun: AtomicBool::new(false),
        }
    }

    /// From now on, in this session.
    pub fn begin(&'static self) {
        if self.has_begun.swap(true, Relaxed) {
            return;
        }
        let ends: *const Ends = &self.ends;
        // SAFETY: the callbacks are functions of this library, which is never unloaded, and take what
        // is given here, which is static.
        unsafe {
            pg_sys::RegisterXactCallback(Some(on_transaction_event), ends.cast_mut().cast());
            pg_sys::RegisterSubXactCallback(Some(on_subtransaction_event), ends.cast_mut().cast());
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction_event(
    event: pg_sys::XactEvent::Type,
    ends: *mut c_void,
) {
    // SAFETY: `begin` registered this with static ends.
    let ends = unsafe { &*ends.cast::<Ends>() };
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => (ends.before_commit)(),
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => (ends.before_prepare)(),
        pg_sys::XactEvent::XACT_EVENT_COMMIT => (ends.committed)(),
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            (ends.given_up)();
        }
        _ => (),
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    ends: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // SAFETY: `begin` registered this with static ends.
        let ends = unsafe { &*ends.cast::<Ends>() };
        (ends.subtransaction_rolled_back)(own);
    }
}
