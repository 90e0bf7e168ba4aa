//! Where a session continues to look for work in a lane.
//!
//! Rows that were claimed leave dead entries at the head of the claim index, and while some old
//! transaction is open nothing may remove them: a claim that always starts at the head would walk
//! over all of them. So a session starts where it last found something, and looks at the whole
//! lane only now and then, and before saying that there is nothing, which finds what appeared behind its cursor (a transaction that
//! committed late, a claim that was rolled back).

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

    /// Remembers that the session took the task at `position`.
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
}
