//! Which queue is looked into first: the one whose oldest task is the most urgent.
//!
//! A task counts one priority higher for each aging period that it has waited, so that nothing starves
//! below a stream of more important work. Among equals the older one goes first.

use crate::cursor::{Position, Queue};

const HIGHEST_PRIORITY: i64 = 1;

/// A queue and its oldest task, by the time at which that became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub queue: Queue,
    pub ready_at: Position,
}

/// Puts the most urgent first. `aging_us`: after waiting so long, in microseconds, a task counts one
/// priority higher; taken as at least one microsecond.
pub fn sort(heads: &mut [Head], now_us: Position, aging_us: i64) {
    heads.sort_by_key(|head| (priority_now(head, now_us, aging_us), head.ready_at));
}

fn priority_now(head: &Head, now_us: Position, aging_us: i64) -> i64 {
    let waited_us = now_us.saturating_sub(head.ready_at);
    let raised_by = waited_us.div_euclid(aging_us.max(1));
    HIGHEST_PRIORITY.max(i64::from(head.queue.1).saturating_sub(raised_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const NOW: Position = 100 * HOUR;

    fn sorted(heads: &[(i16, Position)]) -> Vec<(i16, Position)> {
        let mut heads: Vec<Head> = heads
            .iter()
            .map(|&(priority, ready_at)| Head {
                queue: (1, priority),
                ready_at,
            })
            .collect();
        sort(&mut heads, NOW, HOUR);
        let flat = |head: &Head| (head.queue.1, head.ready_at);
        heads.iter().map(flat).collect()
    }

    #[test]
    fn priority_goes_before_age() {
        assert_eq!(
            sorted(&[(3, NOW - 10), (1, NOW - 1), (4, NOW - 20)]),
            [(1, NOW - 1), (3, NOW - 10), (4, NOW - 20)]
        );
    }

    #[test]
    fn each_full_period_of_waiting_raises_a_task_by_one() {
        let almost = (4, NOW - HOUR + 1);
        let raised = (4, NOW - HOUR);
        assert_eq!(sorted(&[almost, (3, NOW - 1)])[0], (3, NOW - 1));
        assert_eq!(sorted(&[(3, NOW - 1), raised])[0], raised);
    }

    #[test]
    fn nothing_is_raised_above_the_highest() {
        let ancient = (4, NOW - 50 * HOUR);
        let older = (1, NOW - 51 * HOUR);
        assert_eq!(sorted(&[ancient, older]), [older, ancient]);
    }

    #[test]
    fn a_task_from_a_clock_ahead_keeps_its_place_behind_its_equals() {
        assert_eq!(sorted(&[(2, NOW + 5), (2, NOW)])[0], (2, NOW));
    }
}
