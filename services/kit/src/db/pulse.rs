//! Whether the database still answers whoever waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the question was asked that has no answer yet.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

/// A question that is being asked, until this is dropped.
#[derive(Debug)]
pub struct Asking(Pulse);

impl Pulse {
    /// A question is asked from now on. There is one who asks, one question after the other.
    pub fn ask(&self) -> Asking {
        self.set(Some(Instant::now()));
        Asking(self.clone())
    }

    /// How long there has been no answer; none while nobody waits for one.
    pub fn silent_for(&self) -> Option<Duration> {
        let asked_at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked_at.map(|it| it.elapsed())
    }

    fn set(&self, asked_at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
