//! How far back to look for due rows.
//!
//! While somebody's long transaction is open, Postgres keeps the index entries of all rows that
//! were delivered meanwhile, and each claim passes over them, about 1,000 in a millisecond. So when
//! looking at everything is slow, most claims begin shortly before the rows that were found last.
//! What appears behind (a transaction that committed late, a lease that ended) is found when
//! everything is looked at again, which happens within one poll interval.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::store::Row;

/// Transactions that take longer than this to commit may have their rows found one poll interval
/// late.
const MARGIN: Duration = Duration::from_secs(10);

/// At most this share of the time goes into looking at everything, unless the poll interval asks
/// for more.
const ONE_IN: u32 = 5;

/// Where one worker found rows last, and when it may look at everything again.
#[derive(Debug)]
pub(super) struct Sight {
    found_last: Option<OffsetDateTime>,
    look_at_all_from: Instant,
    poll: Duration,
}

impl Sight {
    /// Looks at everything at first.
    pub fn new(poll: Duration) -> Self {
        Self {
            found_last: None,
            look_at_all_from: Instant::now(),
            poll,
        }
    }

    /// From when on rows must be due to be looked at; none for all.
    pub fn since(&self) -> Option<OffsetDateTime> {
        let is_time = Instant::now() >= self.look_at_all_from;
        let found_last = self.found_last.filter(|_| !is_time)?;
        Some(found_last - MARGIN)
    }

    /// Notes what a look gave that began at `asked_at`.
    pub fn looked(&mut self, since: Option<OffsetDateTime>, asked_at: Instant, rows: &[Row]) {
        if since.is_none() {
            let pause = (asked_at.elapsed() * ONE_IN).min(self.poll);
            self.look_at_all_from = Instant::now() + pause;
        }
        self.found_last = rows.iter().map(|row| row.due_at).max().or(self.found_last);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    fn row(due_at: OffsetDateTime) -> Row {
        Row {
            id: 1,
            key: None,
            payload: "{}".to_owned(),
            attempt: 0,
            created_at: due_at,
            due_at,
            lease_token: Uuid::nil(),
        }
    }

    #[test]
    fn after_a_slow_look_at_all_the_next_one_begins_before_what_was_found() {
        let mut sight = Sight::new(POLL);
        assert_eq!(sight.since(), None);
        let due_at = OffsetDateTime::now_utc();
        sight.looked(None, Instant::now() - POLL, &[row(due_at)]);
        assert_eq!(sight.since(), Some(due_at - MARGIN));
        sight.looked(sight.since(), Instant::now(), &[]);
        assert_eq!(
            sight.since(),
            Some(due_at - MARGIN),
            "nothing new was found"
        );
    }

    #[test]
    fn as_long_as_looks_are_quick_all_is_looked_at() {
        let mut sight = Sight::new(POLL);
        let row = row(OffsetDateTime::now_utc());
        sight.looked(None, Instant::now() - POLL, &[row]);
        sight.look_at_all_from = Instant::now();
        assert_eq!(sight.since(), None);
    }

    #[test]
    fn all_is_looked_at_once_per_poll_interval_however_slow_that_is() {
        let mut sight = Sight::new(POLL);
        sight.looked(None, Instant::now() - 60 * POLL, &[]);
        assert!(sight.look_at_all_from <= Instant::now() + POLL);
    }
}
