//! The rows that this process holds, and until when.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::store::Lease;

/// Every row in hand with the moment at which its lease ends, by our clock. That clock starts
/// before the database is asked, so it never ends later than the database's.
#[derive(Debug, Default)]
pub(super) struct Hands {
    rows: Mutex<HashMap<i64, Held>>,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// None: the lease is lost.
    until: watch::Sender<Option<Instant>>,
}

/// Knows when the lease of one row is lost.
#[derive(Debug)]
pub(super) struct Hold {
    until: watch::Receiver<Option<Instant>>,
}

impl Hands {
    /// Takes a row that was just leased.
    pub fn take(&self, lease: Lease, until: Instant) -> Hold {
        let (sender, receiver) = watch::channel(Some(until));
        // An earlier hold on the same row has been lost, or we would not have been given it; it
        // notices by this.
        let held = Held {
            lease,
            until: sender,
        };
        self.rows().insert(lease.id, held);
        Hold { until: receiver }
    }

    /// The leases that end within `span`.
    pub fn ending_within(&self, span: Duration) -> Vec<Lease> {
        let limit = Instant::now() + span;
        self.rows()
            .values()
            .filter(|held| held.until.borrow().is_some_and(|until| until < limit))
            .map(|held| held.lease)
            .collect()
    }

    /// Of the leases that were to be extended, those of `kept` end at `until`, and the others are
    /// lost.
    pub fn extended(&self, asked: &[Lease], kept: &[i64], until: Instant) {
        let rows = self.rows();
        for lease in asked {
            if let Some(held) = rows.get(&lease.id).filter(|held| held.lease == *lease) {
                held.until
                    .send_replace(kept.contains(&lease.id).then_some(until));
            }
        }
    }

    /// Lets go of a row, unless it has been taken again.
    pub fn drop_lease(&self, lease: Lease) {
        let mut rows = self.rows();
        if rows.get(&lease.id).is_some_and(|held| held.lease == lease) {
            rows.remove(&lease.id);
        }
    }

    /// The map is consistent between any two statements, so a panic elsewhere does not spoil it.
    fn rows(&self) -> MutexGuard<'_, HashMap<i64, Held>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Waits until the lease has ended or was taken away.
    pub async fn lost(&mut self) {
        loop {
            let Some(until) = *self.until.borrow_and_update() else {
                return;
            };
            tokio::select! {
                () = sleep_until(until) => return,
                extended = self.until.changed() => if extended.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(id: i64) -> Lease {
        Lease {
            id,
            token: Uuid::new_v4(),
        }
    }

    #[tokio::test]
    async fn a_lease_ends_by_itself_unless_it_is_extended() {
        let hands = Hands::default();
        let (one, two) = (lease(1), lease(2));
        let past = Instant::now() - SECOND;
        let mut of_one = hands.take(one, past);
        let mut of_two = hands.take(two, past);
        hands.extended(&[one], &[1], Instant::now() + 60 * SECOND);
        assert!(of_two.lost().now_or_never().is_some());
        assert!(of_one.lost().now_or_never().is_none());
        assert_eq!(hands.ending_within(30 * SECOND), [two]);
    }

    #[tokio::test]
    async fn a_lease_that_was_not_extended_is_lost_at_once() {
        let hands = Hands::default();
        let one = lease(1);
        let mut hold = hands.take(one, Instant::now() + SECOND);
        hands.extended(&[one], &[], Instant::now() + SECOND);
        assert!(hold.lost().now_or_never().is_some());
        assert!(hands.ending_within(2 * SECOND).is_empty());
    }

    #[tokio::test]
    async fn who_lost_a_row_does_not_drop_it_for_who_took_it_anew() {
        let hands = Hands::default();
        let (old, new) = (lease(1), lease(1));
        let mut of_old = hands.take(old, Instant::now() + SECOND);
        let mut of_new = hands.take(new, Instant::now() + SECOND);
        assert!(of_old.lost().now_or_never().is_some());
        hands.drop_lease(old);
        assert!(of_new.lost().now_or_never().is_none());
    }
}
