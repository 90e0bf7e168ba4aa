//! Where claims wait for tasks without a database connection.
//!
//! Agents with the same capabilities can take the same tasks, so they wait in one group, in order
//! of arrival. A wake-up calls one agent of each group. Who finds a task lets two more try; who
//! finds none ends the round, and who may take none passes it on. A thousand waiting agents thus
//! cost a few queries per wake-up and not a thousand, while a thousand new tasks still reach all of
//! them in a few rounds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use devart_kit::listener::Wakeups;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Notifications are hints and may be lost, so every group is called at least this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many others may try after somebody found a task.
const FAN_OUT: usize = 2;

/// The groups of waiting agents.
#[derive(Default)]
pub struct WaitingRoom {
    groups: Mutex<HashMap<Vec<String>, Weak<Notify>>>,
    calls: Arc<AtomicU64>,
}

impl WaitingRoom {
    /// How often the room was called so far. Note it before looking for a task, and compare after
    /// taking a seat: a difference means that the call in between was missed.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }

    /// How many claims wait.
    pub fn waiting(&self) -> usize {
        self.groups().values().map(Weak::strong_count).sum()
    }

    /// Joins the group of agents that can take the same tasks.
    pub fn take_seat(&self, mut capabilities: Vec<String>) -> Seat {
        capabilities.sort_unstable();
        capabilities.dedup();
        let mut groups = self.groups();
        let existing = groups.get(&capabilities).and_then(Weak::upgrade);
        let group = existing.unwrap_or_else(|| {
            let group = Arc::default();
            groups.insert(capabilities, Arc::downgrade(&group));
            group
        });
        Seat {
            group,
            calls: Arc::clone(&self.calls),
            passed_on_in: AtomicU64::default(),
        }
    }

    /// Calls one agent of every group.
    pub fn call(&self) {
        self.calls.fetch_add(1, Ordering::AcqRel);
        self.groups().retain(|_, group| {
            let group = group.upgrade();
            group.iter().for_each(|group| group.notify_one());
            group.is_some()
        });
    }

    /// Calls at every wake-up, and at least once per [`POLL_INTERVAL`], until shutdown.
    pub async fn serve(self: Arc<Self>, mut wakeups: Wakeups, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = wakeups.next() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            self.call();
        }
    }

    /// The map is consistent between any two statements, so a panic elsewhere does not spoil it.
    fn groups(&self) -> MutexGuard<'_, HashMap<Vec<String>, Weak<Notify>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a group.
pub struct Seat {
    group: Arc<Notify>,
    calls: Arc<AtomicU64>,
    /// The last call of the room in which it passed its turn on.
    passed_on_in: AtomicU64,
}

impl Seat {
    /// Waits to be called.
    pub async fn called(&self) -> Turn<'_> {
        self.group.notified().await;
        Turn {
            seat: self,
            pass_on_to: 1,
        }
    }

    /// Calls one of the group, perhaps this very seat: for a call that was missed.
    pub fn call_again(&self) {
        self.group.notify_one();
    }
}

/// The right to look for a task once. Passed on when its holder goes away half-way.
pub struct Turn<'a> {
    seat: &'a Seat,
    pass_on_to: usize,
}

impl Turn<'_> {
    /// There may be more where that came from.
    pub fn found_tasks(mut self) {
        self.pass_on_to = FAN_OUT;
    }

    /// Nothing there for anybody of this group: the round is over.
    pub fn found_nothing(mut self) {
        self.pass_on_to = 0;
    }

    /// Not for this agent, which has as many tasks as it may; perhaps for others. Once per call of
    /// the room: when the turn is back, it has been with all others.
    pub fn could_take_none(mut self) {
        let call = self.seat.calls.load(Ordering::Acquire);
        let last = self.seat.passed_on_in.swap(call, Ordering::Relaxed);
        self.pass_on_to = usize::from(last != call);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        for _ in 0..self.pass_on_to {
            self.seat.group.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn seat(room: &WaitingRoom, capability: &str) -> Seat {
        room.take_seat(vec![capability.to_owned()])
    }

    #[tokio::test]
    async fn a_call_reaches_one_agent_of_each_group() {
        let room = WaitingRoom::default();
        let (a1, a2, b) = (seat(&room, "a"), seat(&room, "a"), seat(&room, "b"));
        let mut first = Box::pin(a1.called());
        let mut second = Box::pin(a2.called());
        let mut other = Box::pin(b.called());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        room.call();
        first.await.found_nothing();
        other.await.found_nothing();
        assert!(second.as_mut().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_finds_tasks_lets_others_try() {
        let room = WaitingRoom::default();
        let (one, two) = (seat(&room, "a"), seat(&room, "a"));
        let mut first = Box::pin(one.called());
        let mut second = Box::pin(two.called());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        room.call();
        first.await.found_tasks();
        second.await.found_nothing();
    }

    #[tokio::test]
    async fn who_may_take_none_lets_another_try_and_the_round_ends() {
        let room = WaitingRoom::default();
        let (full, other) = (seat(&room, "a"), seat(&room, "a"));
        let mut first = Box::pin(full.called());
        let mut second = Box::pin(other.called());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        room.call();
        first.await.could_take_none();
        let mut again = Box::pin(full.called());
        assert!(again.as_mut().now_or_never().is_none());
        second.await.could_take_none();
        again.await.could_take_none();
        assert!(other.called().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_turn_of_a_client_that_left_is_passed_on() {
        let room = WaitingRoom::default();
        let (gone, next) = (seat(&room, "a"), seat(&room, "a"));
        room.call();
        drop(gone.called().await);
        next.called().await.found_nothing();
    }

    #[tokio::test]
    async fn a_call_between_looking_and_sitting_down_shows() {
        let room = WaitingRoom::default();
        let before = room.calls();
        room.call();
        let late = seat(&room, "a");
        assert!(late.called().now_or_never().is_none());
        assert_ne!(room.calls(), before);
        late.call_again();
        late.called().await.found_nothing();
    }

    #[test]
    fn empty_groups_are_forgotten() {
        let room = WaitingRoom::default();
        drop(seat(&room, "a"));
        room.call();
        assert!(room.groups().is_empty());
    }

    #[test]
    fn the_order_of_capabilities_does_not_matter() {
        let room = WaitingRoom::default();
        let one = room.take_seat(vec!["b".into(), "a".into()]);
        let other = room.take_seat(vec!["a".into(), "b".into(), "a".into()]);
        assert!(Arc::ptr_eq(&one.group, &other.group));
    }
}
