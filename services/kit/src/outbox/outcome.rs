//! How handling a row ended: what `deliver` finds out and `settle` tells the database.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;

use super::store::Lease;

/// How handling a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The outside has it.
    Delivered,
    /// It is tried again after the delay, or buried when there is none.
    Failed {
        error: String,
        delay: Option<Duration>,
    },
    /// We stop; somebody else shall deliver it.
    Returned,
    /// Somebody else may have it already.
    Lost,
}

/// A row that was handled. Its place is free when this is dropped.
#[derive(Debug)]
pub(super) struct Settled {
    pub lease: Lease,
    pub keyed: bool,
    pub created_at: OffsetDateTime,
    pub outcome: Outcome,
    #[expect(dead_code, reason = "held, not read")]
    pub place: Option<OwnedSemaphorePermit>,
}
