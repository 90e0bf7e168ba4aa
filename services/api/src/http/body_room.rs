//! Room for the bodies of those of whom nobody knows yet who they are: they are bounded together,
//! for each address, and in time, since no limit of a person or an agent counts for them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body::{self, Bounds};
use super::client_address::ClientAddress;
use super::timeout::took_too_long;
use crate::error::{ApiError, ApiResult};
use crate::turns::{Turn, Turns};

/// What these bodies may take of the memory.
const KIBIBYTES: usize = 64 * 1024;

/// Bodies from one address; others wait for a turn.
const AT_ONCE_PER_ADDRESS: usize = 32;

/// How long somebody waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a body may be under way: as long as GitHub waits for its answer.
const SENDING_TIME: Duration = Duration::from_secs(10);

/// The room of this process.
pub struct BodyRoom {
    kibibytes: Arc<Semaphore>,
    senders: Turns<IpAddr>,
    patience: Duration,
    sending_time: Duration,
}

impl Default for BodyRoom {
    fn default() -> Self {
        Self::with_times(PATIENCE, SENDING_TIME)
    }
}

impl BodyRoom {
    fn with_times(patience: Duration, sending_time: Duration) -> Self {
        Self {
            kibibytes: Arc::new(Semaphore::new(KIBIBYTES)),
            senders: Turns::new(AT_ONCE_PER_ADDRESS, patience),
            patience,
            sending_time,
        }
    }

    /// Reads a body as [`body::read_parts`] does.
    ///
    /// # Errors
    /// Those, 408 when it does not come in time, 429 when too many come from its address, and 503
    /// when there is no room for it.
    pub async fn read(
        &self,
        ClientAddress(address): ClientAddress,
        body: Body,
        bounds: Bounds,
        show: impl FnMut(&[u8]),
    ) -> ApiResult<Option<Vec<u8>>> {
        let mut place = self.place(address).await?;
        let reading = body::read_parts(body, bounds, Some(&mut place), show);
        timeout(self.sending_time, reading)
            .await
            .map_err(|_| took_too_long())?
    }

    /// Forgets addresses from which nothing comes.
    pub fn forget_quiet_keys(&self) {
        self.senders.forget_quiet_keys();
    }

    async fn place(&self, address: IpAddr) -> ApiResult<Place> {
        let turn = self.senders.take(address).await?;
        let held = Arc::clone(&self.kibibytes)
            .acquire_many_owned(0)
            .await
            .map_err(|_| ApiError::internal())?;
        Ok(Place {
            held,
            patience: self.patience,
            _turn: turn,
        })
    }
}

/// One body's part of the room, until it is dropped.
pub struct Place {
    held: OwnedSemaphorePermit,
    patience: Duration,
    _turn: Turn,
}

impl Place {
    /// Makes it as large as so many bytes.
    ///
    /// # Errors
    /// 503 when there is no such room for a while.
    pub async fn grow_to(&mut self, bytes: usize) -> ApiResult<()> {
        let missing = bytes.div_ceil(1024).saturating_sub(self.held.num_permits());
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| ApiError::internal())?;
        let more = Arc::clone(self.held.semaphore()).acquire_many_owned(missing);
        let more = timeout(self.patience, more).await.map_err(|_| no_room())?;
        self.held.merge(more.map_err(|_| ApiError::internal())?);
        Ok(())
    }
}

fn no_room() -> ApiError {
    ApiError::unavailable_because("too many requests are being received; try again")
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::http::StatusCode;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_to_come_again_and_what_is_dropped_makes_room() {
        let room = BodyRoom::with_times(Duration::ZERO, Duration::ZERO);
        let mut large = room.place(address(1)).await.expect("a turn");
        let mut small = room.place(address(2)).await.expect("a turn");
        large.grow_to((KIBIBYTES - 1) * 1024).await.expect("room");
        small.grow_to(1).await.expect("the last of it");
        small.grow_to(1024).await.expect("it has that already");
        let refused = small.grow_to(1025).await.expect_err("no room");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(large);
        small.grow_to(1025).await.expect("room again");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_in_time_gives_its_room_back() {
        let room = BodyRoom::with_times(Duration::ZERO, Duration::ZERO);
        let nothing = futures::stream::pending::<io::Result<Vec<u8>>>();
        let stalls = Body::from_stream(nothing);
        let read = room.read(ClientAddress(address(1)), stalls, Bounds::SIGN_IN, |_| ());
        let refused = read.await.expect_err("too slow");
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        room.forget_quiet_keys();
        assert_eq!(room.kibibytes.available_permits(), KIBIBYTES);
    }
}
