//! How long to wait before a lost connection is made again.

use std::time::Duration;

/// A connection that lasted for so long was a good one. A mere connect proves nothing, since
/// whatever ended the last connection may end this one, too.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Growing pauses, which are short again after a good connection.
#[derive(Debug)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// How long to wait after a connection that lasted for so long; zero when none was made.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= GOOD_AFTER {
            self.next = self.first;
        }
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mere_connect_shortens_no_pause_and_a_good_connection_does() {
        let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut after = |seconds| pauses.after(Duration::from_secs(seconds)).as_millis();
        let lasted = [0, 1, 0, 29, 0, 30, 0];
        assert_eq!(lasted.map(&mut after), [100, 200, 400, 800, 1000, 100, 200]);
    }
}
