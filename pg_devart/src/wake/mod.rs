//! Wake-ups: telling whoever waits that there is something to do.
//!
//! Plain NOTIFY takes a lock at commit that is one for the whole cluster, and so lets only one commit
//! through at a time. So a transaction only remembers whom it wants to wake ([`transaction`]), puts
//! that into shared memory once its rows are visible ([`shared`]), and a background worker sends the
//! NOTIFY for everybody ([`notifier`]). The first after a quiet moment, who is in nobody's way, sends
//! its own: its listeners wait for one process less. Where that worker does not serve the session's database, the
//! transaction sends plain NOTIFY: slower, but the listeners see no difference.

mod channel;
mod database;
mod notifier;
mod shared;
mod transaction;

use channel::Channel;
use pgrx::AllocatedByRust;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::worker;

/// Wakes the listeners of `devart_<topic>` when this transaction commits.
///
/// The one way to wake anybody: what it takes to do so is decided here only.
pub fn wake(topic: &str) {
    transaction::remember(Channel::of(topic));
}

/// Prepares the notifier; does nothing unless the library is in `shared_preload_libraries`.
pub fn init() {
    if worker::server_starts() {
        database::define_setting();
        shared::request();
        notifier::register();
    }
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// Wakes the listeners of `devart_<topic>` when this transaction commits. A channel's name ends
    /// after 63 bytes, as it does for LISTEN.
    #[pg_extern(volatile, parallel_unsafe)]
    fn wake(topic: &str) {
        super::wake(topic);
    }

    /// A trigger of any table: wakes the listeners of `devart_<topic>` once the change is committed, with the topic as the
    /// trigger's argument. Native, since in PL/pgSQL the trigger would cost more than the wake-up.
    ///
    /// Errors: 22023 the trigger has no argument, or more than one.
    #[pg_trigger]
    fn wake_listeners<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, ErrorReport> {
        match trigger.extra_args().unwrap_or_default().as_slice() {
            [topic] => super::wake(topic),
            // Raised here: pgrx gives XX000 to an error that a trigger returns.
            _ => ErrorReport::from(Error::InvalidArgument(
                "the trigger's only argument must be the topic".to_owned(),
            ))
            .report(PgLogLevel::ERROR),
        }
        Ok(None)
    }
}
