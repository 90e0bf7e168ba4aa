//! The notifier: the background worker that sends NOTIFY for everybody.

use std::cell::Cell;
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder};
use pgrx::prelude::*;

use super::channel::Channel;
use super::database;
use super::shared::notifier as shared;
use crate::pg::worker;

const NAME: &str = "devart notifier";
/// After an error or the loss of its database.
const RESTART_INTERVAL: Duration = Duration::from_secs(2);
/// Between two NOTIFYs. Sending without a pause costs the sessions a fifth of their commits.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Each NOTIFY has the listener, its client and us run. While there is always another one to send, listeners are
/// busy and need it less: the pause doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// How often an idle notifier looks whether its database is wanted. Others wait for five seconds.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// Taken from the board and not yet sent.
    static IN_HAND: Cell<u64> = const { Cell::new(0) };
}

/// Has the starting server run the notifier.
pub fn register() {
    BackgroundWorkerBuilder::new(NAME)
        .set_type(NAME)
        .set_library("pg_devart")
        .set_function("devart_notifier_main")
        .enable_spi_access()
        .set_restart_time(Some(RESTART_INTERVAL))
        .load();
}

/// Serves the database; where it was not there the last time, waits for it first.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn devart_notifier_main(_argument: pg_sys::Datum) {
    worker::obey_sigterm();
    // In doubt until we are connected, since a failure to connect ends the process at once.
    if shared::set_database_in_doubt(true) {
        wait_for_database();
    } else {
        database::connect();
        serve();
    }
    shared::set_database_in_doubt(false);
    worker::end();
}

/// Quietly, where connecting would leave an error in the log each time.
fn wait_for_database() {
    BackgroundWorker::connect_worker_to_spi(None, None);
    while !database::exists() && BackgroundWorker::wait_latch(Some(IDLE_INTERVAL)) {}
}

/// Sends what waits, until somebody wants the database alone.
fn serve() {
    shared::set_database_in_doubt(false);
    worker::before_exit(on_exit);
    shared::begin();
    let mut pause = SHORTEST_PAUSE;
    loop {
        IN_HAND.set(shared::take());
        if IN_HAND.get() != 0 {
            send();
            std::thread::sleep(pause);
            pause = LONGEST_PAUSE.min(2 * pause);
            continue;
        }
        pause = SHORTEST_PAUSE;
        if database::is_wanted_alone() {
            return;
        }
        if shared::may_sleep() && !BackgroundWorker::wait_latch(Some(IDLE_INTERVAL)) {
            return;
        }
    }
}

fn send() {
    shared::begin_sending();
    let channels = shared::channels(IN_HAND.get());
    BackgroundWorker::transaction(|| channels.iter().for_each(Channel::notify));
    IN_HAND.set(0);
}

/// However we end: sessions send for themselves, and what was not sent waits for the next notifier.
fn on_exit() {
    shared::end();
    shared::put_back(IN_HAND.take());
}
