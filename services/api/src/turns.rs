//! How many at a time: each key has so many turns, and who finds none waits for one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ApiResult};
use crate::limits::too_many;

/// The turns of all keys.
pub struct Turns<K> {
    at_once: usize,
    patience: Duration,
    lines: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// The right to go on, until it is dropped.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Turns<K> {
    /// `at_once` for each key; who waits longer than `patience` is sent away.
    pub fn new(at_once: usize, patience: Duration) -> Self {
        Self {
            at_once,
            patience,
            lines: Mutex::default(),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 when none comes in time.
    pub async fn take(&self, key: K) -> ApiResult<Turn> {
        let line = self.line(key);
        // Nearly always there is one: no timer is set for that.
        if let Ok(permit) = Arc::clone(&line).try_acquire_owned() {
            return Ok(Turn { _permit: permit });
        }
        let permit = tokio::time::timeout(self.patience, line.acquire_owned())
            .await
            .map_err(|_| too_many())?
            .map_err(|_| ApiError::internal())?;
        Ok(Turn { _permit: permit })
    }

    /// Forgets those who neither have a turn nor wait for one.
    pub fn forget_quiet_keys(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|_, line| line.strong_count() > 0);
    }

    fn line(&self, key: K) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let line = Arc::new(Semaphore::new(self.at_once));
            lines.insert(key, Arc::downgrade(&line));
            line
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn who_has_no_turn_left_waits_and_others_do_not() {
        let turns = Turns::new(1, Duration::from_millis(1));
        let (busy, quiet) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let turn = turns.take(busy).await.expect("the first");
        let refused = turns.take(busy).await.err().expect("no turn");
        assert_eq!(refused.status(), 429);
        assert!(turns.take(quiet).await.is_ok());
        drop(turn);
        assert!(turns.take(busy).await.is_ok());
    }

    #[tokio::test]
    async fn quiet_keys_are_forgotten() {
        let turns = Turns::new(1, Duration::from_millis(1));
        let turn = turns.take(Uuid::from_u128(1)).await.expect("a turn");
        turns.forget_quiet_keys();
        assert!(turns.take(Uuid::from_u128(1)).await.is_err());
        drop(turn);
        turns.forget_quiet_keys();
        assert!(turns.lines.lock().expect("not poisoned").is_empty());
    }
}
