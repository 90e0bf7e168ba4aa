//! Whom this transaction will wake.
//!
//! What is remembered in a subtransaction that rolls back stays: waking somebody for nothing does
//! no harm, and the outer transaction may have wanted to wake them too.

use std::cell::{Cell, RefCell};

use super::channel::Channel;
use super::shared;
use crate::pg::transaction::{Ends, Watch};

thread_local! {
    /// Each once.
    static CHANNELS: RefCell<Vec<Channel>> = const { RefCell::new(Vec::new()) };
    /// Those of them that the notifier will send to, as bits.
    static BITS: Cell<u64> = const { Cell::new(0) };
}

static ENDS: Watch = Watch::new(Ends {
    before_commit: prepare_wakeups,
    // Not earlier: nobody may be woken for rows that are not visible yet.
    committed: || shared::tell_notifier(BITS.take()),
    // Whoever commits a prepared transaction wakes nobody: listeners find its rows when they poll.
    given_up: forget,
    ..Ends::NOTHING
});

/// Wakes the channel's listeners when this transaction commits.
pub fn remember(channel: Channel) {
    ENDS.begin();
    CHANNELS.with_borrow_mut(|channels| {
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    });
}

/// Decides who sends: this is the last moment at which the transaction itself still can.
fn prepare_wakeups() {
    // Taken out, as Postgres may fail to take a notification, or run something that wakes others.
    let channels = CHANNELS.take();
    let sends_itself = !channels.is_empty() && shared::is_first_after_quiet();
    for channel in channels {
        match shared::bit_of(&channel).filter(|_| !sends_itself) {
            Some(bit) => BITS.set(BITS.get() | bit),
            None => channel.notify(),
        }
    }
}

fn forget() {
    CHANNELS.with_borrow_mut(Vec::clear);
    BITS.set(0);
}
