//! Telegram's rate: what it takes from one bot, and how long a chat waits for its next message.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::bot::Answer;

/// Telegram takes 30 messages a second from one bot, and every chat may get one a second.
pub const MOST_CHATS: usize = 30;

/// Between an answer and the next message to a chat, so that Telegram never gets two in a second
/// however long one is under way.
const PAUSE: Duration = Duration::from_secs(1);

/// When a chat may be sent its next message.
pub struct RateLimit {
    free_at: Instant,
}

impl RateLimit {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        Self {
            free_at: Instant::now(),
        }
    }

    /// Waits until the next message may go.
    pub async fn wait(&self) {
        sleep_until(self.free_at).await;
    }

    /// Notes the answer to a message, from which on the pause counts.
    pub fn answered(&mut self, answer: &Answer) {
        self.free_at = Instant::now() + silence(answer);
    }
}

/// A second, or as long as Telegram asks for (`retry_after`).
fn silence(answer: &Answer) -> Duration {
    match answer {
        Answer::Limited {
            after: Some(after), ..
        } => PAUSE.max(*after),
        _ => PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_lasts_at_least_a_second() {
        let limited = |after| Answer::Limited {
            error: String::new(),
            after,
        };
        assert_eq!(
            silence(&limited(Some(Duration::from_secs(9)))),
            Duration::from_secs(9)
        );
        for answer in [
            limited(Some(Duration::ZERO)),
            limited(None),
            Answer::Accepted,
        ] {
            assert_eq!(silence(&answer), PAUSE);
        }
    }
}
