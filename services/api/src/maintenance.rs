//! Calls the database's periodic work, and notices when it stands still. Safe in every replica: the
//! database lets one at a time work, and tells the others when that was last done.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use devart_kit::db::OneTrip;
use devart_kit::health;
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Due tasks, expired leases and holds are late by so much before anybody is told.
const LATE_AFTER: Duration = Duration::from_secs(60);

const MAINTAIN: &str =
    "select (devart_private.maintain() ->> 'seconds_since_success')::double precision";

/// What this process knows of the periodic work.
pub struct Maintenance {
    /// Between two calls; zero: this process leaves it to others, and does not judge it.
    interval: Duration,
    /// When all of it was last done, by anybody. At the beginning: now.
    succeeded_at: Mutex<Instant>,
}

impl Maintenance {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            succeeded_at: Mutex::new(Instant::now()),
        }
    }

    /// How long ago all of it was last done; none for a process that leaves it to others.
    pub fn known_age(&self) -> Option<Duration> {
        (!self.interval.is_zero()).then(|| self.age())
    }

    fn age(&self) -> Duration {
        let succeeded_at = self.succeeded_at.lock();
        succeeded_at
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    /// For how long it has not been done, when that is so long that people must know.
    pub fn stands_still(&self) -> Option<Duration> {
        let age = self.known_age()?;
        (age > LATE_AFTER.max(self.interval * 3)).then_some(age)
    }

    fn was_done(&self, seconds_ago: f64) {
        let ago = Duration::try_from_secs_f64(seconds_ago).unwrap_or_default();
        let now = Instant::now();
        *self
            .succeeded_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now.checked_sub(ago).unwrap_or(now);
    }

    /// Calls `devart_private.maintain()` at every interval until shutdown. Restarts of the database
    /// are waited out; each outage is logged once.
    pub async fn run(&self, pool: PgPool, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut working, mut still) = (true, false);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let result = maintain(&pool).await;
            report(&result, working);
            working = result.is_ok();
            if let Ok(seconds_ago) = result {
                self.was_done(seconds_ago);
            }
            let stands_still = self.stands_still();
            if let Some(age) = stands_still.filter(|_| !still) {
                tracing::error!("periodic work has not been done for {age:?}");
            }
            still = stands_still.is_some();
        }
    }
}

/// Asks for all of it; gives how long ago that was last done, in seconds.
async fn maintain(pool: &PgPool) -> Result<f64, sqlx::Error> {
    let answered = sqlx::query_scalar(MAINTAIN).fetch_one(OneTrip::Alone(pool));
    answered.await.inspect_err(note)
}

fn note(error: &sqlx::Error) {
    let database = error.as_database_error();
    if let Some(code) = database.and_then(|error| error.code()) {
        health::note_refusal(&code);
    }
}

fn report(result: &Result<f64, sqlx::Error>, worked_before: bool) {
    match result {
        Err(error) if worked_before => {
            tracing::warn!(%error, "periodic work cannot run, trying at every interval: {error}");
        }
        Ok(_) if !worked_before => tracing::info!("periodic work runs again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_nobody_has_done_for_long_stands_still() {
        let maintenance = Maintenance::new(Duration::from_secs(1));
        assert!(maintenance.stands_still().is_none(), "a new process waits");
        maintenance.was_done(61.0);
        assert!(maintenance.stands_still().is_some());
        maintenance.was_done(5.0);
        assert!(maintenance.stands_still().is_none());
    }

    #[test]
    fn a_process_that_leaves_it_to_others_does_not_judge() {
        let maintenance = Maintenance::new(Duration::ZERO);
        maintenance.was_done(3600.0);
        assert!(maintenance.stands_still().is_none());
        let seldom = Maintenance::new(Duration::from_secs(600));
        seldom.was_done(900.0);
        assert!(seldom.stands_still().is_none(), "it is called that seldom");
    }
}
