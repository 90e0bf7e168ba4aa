//! What the parts of one worker share.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::hands::Hands;
use super::options::OutboxOptions;
use super::store::Store;
use crate::db::Pulse;

/// What the parts of one worker share.
pub(super) struct Worker<H> {
    pub handler: H,
    pub options: OutboxOptions,
    pub store: Store,
    pub pulse: Pulse,
    pub hands: Hands,
    /// How many handlers may run.
    pub slots: Semaphore,
    /// How many rows may be in hand: those being handled, and a batch that waits or is being
    /// settled.
    pub room: Arc<Semaphore>,
    /// Says that rows may have become due by what this worker did.
    pub look: Notify,
    /// Nothing new is begun.
    pub shutdown: CancellationToken,
    /// Handlers still running are dropped.
    pub abandon: CancellationToken,
}
