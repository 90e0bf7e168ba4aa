//! Whom this transaction will wake.
//!
//! What is remembered in a subtransaction that rolls back stays: waking somebody for nothing does
//! no harm, and the outer transaction may have wanted to wake them too.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use pgrx::prelude::*;

use super::channel::Channel;
use super::shared;

thread_local! {
    /// Each once.
    static CHANNELS: RefCell<Vec<Channel>> = const { RefCell::new(Vec::new()) };
    /// Those of them that the notifier will be told of, as bits.
    static BITS: Cell<u64> = const { Cell::new(0) };
    static CALLBACK_IS_REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Wakes the channel's listeners when this transaction commits.
pub fn remember(channel: Channel) {
    if !CALLBACK_IS_REGISTERED.replace(true) {
        // SAFETY: the callback is a function of this library, which is never unloaded.
        unsafe { pg_sys::RegisterXactCallback(Some(on_transaction_event), std::ptr::null_mut()) };
    }
    CHANNELS.with_borrow_mut(|channels| {
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction_event(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => prepare_wakeups(),
        // Not earlier: nobody may be told of rows that are not visible yet. Nothing here may fail.
        pg_sys::XactEvent::XACT_EVENT_COMMIT => shared::tell_notifier(BITS.take()),
        // After PREPARE any session may commit this transaction: listeners find its rows when they poll.
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => forget(),
        _ => (),
    }
}

/// Decides who sends: this is the last moment at which the transaction itself still can.
fn prepare_wakeups() {
    CHANNELS.with_borrow_mut(|channels| {
        let sends_itself = !channels.is_empty() && shared::is_first_after_quiet();
        for channel in channels.drain(..) {
            match shared::bit_of(&channel).filter(|_| !sends_itself) {
                Some(bit) => BITS.set(BITS.get() | bit),
                None => channel.notify(),
            }
        }
    });
}

fn forget() {
    CHANNELS.with_borrow_mut(Vec::clear);
    BITS.set(0);
}
