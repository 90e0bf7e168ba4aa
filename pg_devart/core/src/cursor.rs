//! Where a session continues to look for work in a lane.
//!
//! Rows that were claimed leave dead entries at the head of the claim index, and while some old
//! transaction is open nothing may remove them: a claim that always starts at the head would walk
//! over all of them. So a session starts where it last found something, and looks at the whole
//! lane only now and then, and before saying that there is nothing, which finds what appeared behind
//! its cursor (a transaction that committed late, a claim that was rolled back).

use std::collections::HashMap;

/// A queue within a lane: the lane's id and the priority's number (1 to 4).
pub type Queue = (i32, i16);

/// A place in a queue, in microseconds of the time at which a task became ready.
pub type Position = i64;

/// Before everything: where a scan of the whole queue starts.
pub const START: Position = i64::MIN;

/// A full look costs the session at most this share of its time.
const RESCAN_TIME_SHARE: i64 = 50;
/// No two full looks within this time, unless nothing else is found.
const MIN_RESCAN_INTERVAL_US: i64 = 250_000;

/// The cursors of one session.
#[derive(Debug, Default)]
pub struct Cursors {
    positions: HashMap<Queue, Position>,
    last_rescan_at_us: i64,
    last_rescan_cost_us: i64,
}

impl Cursors {
    /// Where to start in a queue.
    pub fn position(&self, queue: Queue) -> Position {
        self.positions.get(&queue).copied().unwrap_or(START)
    }

    /// Remembers that the session took the task at `position`, for good.
    pub fn advance(&mut self, queue: Queue, position: Position) {
        let current = self.positions.entry(queue).or_insert(position);
        *current = (*current).max(position);
    }

    /// Whether this look should start at the head of every queue.
    pub fn rescan_due(&self, now_us: i64) -> bool {
        let interval = MIN_RESCAN_INTERVAL_US.max(RESCAN_TIME_SHARE * self.last_rescan_cost_us);
        now_us.saturating_sub(self.last_rescan_at_us) >= interval
    }

    /// Whether a look from the cursors leaves something out.
    pub fn skips_anything(&self) -> bool {
        !self.positions.is_empty()
    }

    /// Forgets all positions and remembers what the full look cost.
    pub fn rescanned(&mut self, now_us: i64, cost_us: i64) {
        self.positions.clear();
        self.last_rescan_at_us = now_us;
        self.last_rescan_cost_us = cost_us;
    }
}

/// What a transaction has taken so far. It moves the cursors when the transaction commits.
#[derive(Debug, Default)]
pub struct Taken {
    /// By subtransaction, the latest last.
    places: Vec<(u32, Queue, Position)>,
}

impl Taken {
    /// Remembers what was taken in a subtransaction. Those that start later have higher numbers.
    pub fn add(&mut self, subtransaction: u32, places: Vec<(Queue, Position)>) {
        let numbered = places
            .into_iter()
            .map(|(queue, at)| (subtransaction, queue, at));
        self.places.extend(numbered);
    }

    /// Forgets what was taken in a subtransaction and in those that started after it. As they are
    /// nested, whatever started after one that ends now has started within it.
    pub fn roll_back(&mut self, subtransaction: u32) {
        self.places
            .retain(|(taken_in, ..)| *taken_in < subtransaction);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// Moves the cursors behind everything that was taken, and forgets it.
    pub fn settle(&mut self, cursors: &mut Cursors) {
        for (_, queue, position) in self.places.drain(..) {
            cursors.advance(queue, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Queue = (1, 3);
    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_queue_never_seen_starts_at_its_head() {
        assert_eq!(Cursors::default().position(QUEUE), START);
    }

    #[test]
    fn a_cursor_only_moves_forward() {
        let mut cursors = Cursors::default();
        cursors.advance(QUEUE, 20);
        cursors.advance(QUEUE, 10);
        assert_eq!(cursors.position(QUEUE), 20);
        assert_eq!(cursors.position((1, 2)), START);
    }

    #[test]
    fn a_cheap_rescan_is_due_four_times_a_second() {
        let mut cursors = Cursors::default();
        cursors.rescanned(SECOND, 100);
        assert!(!cursors.rescan_due(SECOND + 249_999));
        assert!(cursors.rescan_due(SECOND + 250_000));
    }

    #[test]
    fn a_costly_rescan_is_due_rarely() {
        let mut cursors = Cursors::default();
        cursors.rescanned(SECOND, 100_000);
        assert!(!cursors.rescan_due(5 * SECOND));
        assert!(cursors.rescan_due(6 * SECOND));
    }

    #[test]
    fn a_rescan_forgets_the_positions() {
        let mut cursors = Cursors::default();
        cursors.advance(QUEUE, 20);
        assert!(cursors.skips_anything());
        cursors.rescanned(0, 0);
        assert_eq!(cursors.position(QUEUE), START);
        assert!(!cursors.skips_anything());
    }

    #[test]
    fn everything_that_a_transaction_took_moves_the_cursors_when_it_commits() {
        let (mut taken, mut cursors) = (Taken::default(), Cursors::default());
        taken.add(1, vec![(QUEUE, 10)]);
        taken.add(1, vec![(QUEUE, 20), ((1, 4), 5)]);
        taken.settle(&mut cursors);
        assert_eq!(cursors.position(QUEUE), 20);
        assert_eq!(cursors.position((1, 4)), 5);
    }

    #[test]
    fn what_was_settled_once_moves_nothing_again() {
        let (mut taken, mut cursors) = (Taken::default(), Cursors::default());
        taken.add(1, vec![(QUEUE, 10)]);
        taken.settle(&mut cursors);
        cursors.rescanned(0, 0);
        taken.settle(&mut cursors);
        assert_eq!(cursors.position(QUEUE), START);
    }

    #[test]
    fn what_a_subtransaction_took_is_forgotten_with_it_and_with_the_one_around_it() {
        for rolled_back in [2, 3] {
            let (mut taken, mut cursors) = (Taken::default(), Cursors::default());
            taken.add(1, vec![(QUEUE, 10)]);
            taken.add(3, vec![(QUEUE, 20)]);
            taken.roll_back(rolled_back);
            taken.settle(&mut cursors);
            assert_eq!(cursors.position(QUEUE), 10);
        }
    }

    #[test]
    fn what_was_taken_before_a_subtransaction_started_outlives_it() {
        let (mut taken, mut cursors) = (Taken::default(), Cursors::default());
        taken.add(2, vec![(QUEUE, 10)]);
        taken.roll_back(3);
        taken.settle(&mut cursors);
        assert_eq!(cursors.position(QUEUE), 10);
    }

    #[test]
    fn what_a_transaction_took_that_is_given_up_moves_nothing() {
        let (mut taken, mut cursors) = (Taken::default(), Cursors::default());
        taken.add(1, vec![(QUEUE, 10)]);
        taken.clear();
        taken.settle(&mut cursors);
        assert!(!cursors.skips_anything());
    }
}
