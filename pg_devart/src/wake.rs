//! Wake-ups: telling whoever waits that there is something to do.

use pgrx::prelude::*;

use crate::spi::{self, Session, statement};

statement!(
    NOTIFY,
    "select pg_catalog.pg_notify('devart_' || $1, '')",
    [TEXTOID]
);

/// Wakes the listeners of `devart_<topic>` when this transaction commits.
///
/// The one way to wake anybody: what it takes to do so is decided here only.
pub fn wake(session: &Session, topic: &str) {
    NOTIFY.with(|notify| notify.rows(session, &[topic.into()]));
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// Wakes the listeners of `devart_<topic>` when this transaction commits.
    #[pg_extern(volatile, parallel_unsafe)]
    fn wake(topic: &str) {
        spi::connect(|session| super::wake(session, topic));
    }
}
