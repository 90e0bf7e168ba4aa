//! Where this session looks for work. See [`devart_core::cursor`] for why.
//!
//! The cursors move when what was taken is committed. Nothing is borrowed while Postgres works: a claim
//! may run a trigger that claims.

use std::cell::RefCell;

use devart_core::cursor::{Cursors, Position, Queue, Taken};

use crate::pg::clock;
use crate::pg::transaction::{self, Ends, Subtransaction, Watch};

thread_local! {
    static CURSORS: RefCell<Cursors> = RefCell::default();
    static TAKEN: RefCell<Taken> = RefCell::default();
}

static ENDS: Watch = Watch::new(Ends {
    committed: settle,
    given_up: forget,
    subtransaction_rolled_back: roll_back,
    ..Ends::NOTHING
});

/// Where to start in a queue.
pub fn position(queue: Queue) -> Position {
    CURSORS.with_borrow(|cursors| cursors.position(queue))
}

/// Whether the next look should start at the head of every queue.
pub fn rescan_due() -> bool {
    CURSORS.with_borrow(|cursors| cursors.rescan_due(clock::now_us()))
}

/// Whether a look from the cursors leaves something out.
pub fn skip_anything() -> bool {
    CURSORS.with_borrow(Cursors::skips_anything)
}

/// Every queue was looked at from its head; that began at `started_at`, in microseconds.
pub fn rescanned(started_at: i64) {
    let now = clock::now_us();
    CURSORS.with_borrow_mut(|cursors| cursors.rescanned(now, now - started_at));
}

/// The places of tasks that left their queues, unless this is rolled back.
pub fn taken(places: Vec<(Queue, Position)>) {
    ENDS.begin();
    TAKEN.with_borrow_mut(|taken| taken.add(transaction::current_subtransaction(), places));
}

fn settle() {
    TAKEN.with_borrow_mut(|taken| CURSORS.with_borrow_mut(|cursors| taken.settle(cursors)));
}

fn forget() {
    TAKEN.with_borrow_mut(Taken::clear);
}

fn roll_back(subtransaction: Subtransaction) {
    TAKEN.with_borrow_mut(|taken| taken.roll_back(subtransaction));
}
