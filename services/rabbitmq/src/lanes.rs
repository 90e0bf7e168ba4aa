//! Ensures that every lane has its queue, and every waiting task an invitation.
//!
//! Invitations can be missing: the bridge was switched on after tasks were made, the broker lost
//! its queues, an agent took messages of a lane that it cannot serve, or a message became too old.
//! So the lanes of the database are compared with the queues, at each connection and now and then;
//! and a lane whose queue is deleted, at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use devart_kit::db::{self, OneTrip};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::{Broker, BrokerWatch};
use crate::deletions::Deletions;
use crate::failure::{Harm, harm};
use crate::route::Route;
use crate::topology::Found;

/// A task that has waited for so long beside an empty queue has no invitation on its way any more.
const WAITING_SECONDS: f64 = 60.0;

/// A million waiting tasks take a while to invite.
const CHECK_TIMEOUT: Duration = Duration::from_secs(300);

/// Lanes invited to with one call: few enough that the first need not wait for the last.
const LANES_AT_ONCE: usize = 100;

/// After a check that failed, the database being away for instance.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Lanes whose queues were lost while messages were on their way.
#[derive(Clone, Default)]
pub struct LostLanes(Arc<Lost>);

#[derive(Default)]
struct Lost {
    lanes: Mutex<HashSet<String>>,
    /// Messages of any lanes were lost.
    all: AtomicBool,
    reported: Notify,
}

impl LostLanes {
    /// Notes a lane, to have its tasks invited again.
    pub fn report(&self, lane: String) {
        self.with(|lanes| lanes.insert(lane));
        self.0.reported.notify_one();
    }

    /// Notes all lanes, since nobody knows of which ones messages were lost.
    pub fn report_all(&self) {
        self.0.all.store(true, Ordering::Relaxed);
        self.0.reported.notify_one();
    }

    /// Takes up what `lanes` there are. `reported` earlier, those that there are no more are
    /// forgotten.
    fn settle(&self, lanes: &[Lane], reported: &HashSet<String>) {
        let there: HashSet<&str> = lanes.iter().map(|it| it.routing_key.as_str()).collect();
        let is_all = self.0.all.swap(false, Ordering::Relaxed);
        self.with(|lost| {
            lost.retain(|it| there.contains(it.as_str()) || !reported.contains(it));
            if is_all {
                lost.extend(there.iter().map(|it| (*it).to_owned()));
            }
        });
    }

    fn with<T>(&self, action: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        action(&mut self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps lanes and queues together until it is dropped.
pub struct LaneKeeper {
    lost: LostLanes,
    _task: AbortOnDropHandle<()>,
}

impl LaneKeeper {
    /// Where to report lost lanes.
    pub fn lost(&self) -> LostLanes {
        self.lost.clone()
    }
}

/// Compares lanes and queues at each connection and then each `interval`.
pub fn keep(pool: PgPool, brokers: BrokerWatch, interval: Duration) -> LaneKeeper {
    let lost = LostLanes::default();
    let keeper = Lanes {
        pool,
        lost: lost.clone(),
    };
    LaneKeeper {
        lost,
        _task: AbortOnDropHandle::new(tokio::spawn(keeper.run(brokers, interval))),
    }
}

struct Lanes {
    pool: PgPool,
    lost: LostLanes,
}

/// What the wait between two looks at all lanes ended with.
enum Waited {
    /// It is time for the next one.
    Enough,
    /// Queues of these lanes were deleted.
    Deleted(HashSet<String>),
}

#[derive(sqlx::FromRow)]
struct Lane {
    routing_key: String,
    has_waiting: bool,
}

impl Lanes {
    async fn run(self, mut brokers: BrokerWatch, interval: Duration) {
        let mut deletions = Deletions::default();
        loop {
            let broker = brokers.borrow_and_update().clone();
            let pause = match &broker {
                None => interval,
                Some(broker) => {
                    // Before looking, so that a queue that is deleted meanwhile is noticed.
                    deletions.follow(broker).await;
                    self.look(broker, interval, None).await
                }
            };
            let mut look_at = Instant::now() + pause;
            while let Waited::Deleted(lanes) =
                self.wait(&mut brokers, &mut deletions, look_at).await
            {
                if let Some(broker) = &broker {
                    let again = self.look(broker, interval, Some(&lanes)).await;
                    look_at = look_at.min(Instant::now() + again);
                }
            }
            if brokers.has_changed().is_err() {
                return;
            }
        }
    }

    async fn wait(
        &self,
        brokers: &mut BrokerWatch,
        deletions: &mut Deletions,
        look_at: Instant,
    ) -> Waited {
        tokio::select! {
            // Also when it will change no more.
            _ = brokers.changed() => Waited::Enough,
            () = self.lost.0.reported.notified() => Waited::Enough,
            () = sleep_until(look_at) => Waited::Enough,
            lanes = deletions.next() => Waited::Deleted(lanes),
        }
    }

    /// Compares all lanes or some of them with their queues. Gives when to look again.
    async fn look(
        &self,
        broker: &Broker,
        interval: Duration,
        lanes: Option<&HashSet<String>>,
    ) -> Duration {
        match self.check_in_time(broker, lanes).await {
            Ok(()) => interval,
            Err(error) => {
                tracing::warn!(%error, "cannot compare lanes and queues: {error}");
                RETRY_INTERVAL
            }
        }
    }

    /// A broker out of memory or disk answers nothing for as long as that lasts.
    async fn check_in_time(
        &self,
        broker: &Broker,
        lanes: Option<&HashSet<String>>,
    ) -> anyhow::Result<()> {
        timeout(CHECK_TIMEOUT, self.check(broker, lanes))
            .await
            .context("no answer")?
    }

    async fn check(&self, broker: &Broker, only: Option<&HashSet<String>>) -> anyhow::Result<()> {
        // Before asking for the lanes: one that is made and lost meanwhile is not among them.
        let reported = self.lost.with(|lost| lost.clone());
        let lanes = self.lanes().await?;
        match only {
            None => {
                self.lost.settle(&lanes, &reported);
                let unusable = self.compare(broker, lanes).await?;
                metrics::gauge!("devart_rabbitmq_unusable_queues").set(f64::from(unusable));
                self.remove_retired(broker).await
            }
            Some(only) => {
                let wanted = |lane: &Lane| only.contains(&lane.routing_key);
                let lanes = lanes.into_iter().filter(wanted).collect();
                self.compare(broker, lanes).await.map(drop)
            }
        }
    }

    async fn lanes(&self) -> sqlx::Result<Vec<Lane>> {
        sqlx::query_as("select routing_key, has_waiting from devart_private.task_lanes($1)")
            .bind(WAITING_SECONDS)
            .fetch_all(OneTrip::Alone(&self.pool))
            .await
    }

    /// Makes queues that are missing and invites where invitations are. Gives how many queues cannot
    /// be used.
    async fn compare(&self, broker: &Broker, lanes: Vec<Lane>) -> anyhow::Result<u32> {
        let mut unusable: u32 = 0;
        let mut uninvited = Vec::new();
        for lane in lanes {
            let route = Route::Lane(lane.routing_key.clone());
            let found = match broker.topology.look_at(&route).await {
                Ok(found) => found,
                // One bad queue keeps no other lane waiting.
                Err(error) if harm(&error, broker.is_connected()) != Harm::Connection => {
                    unusable += 1;
                    let queue = route.queue();
                    tracing::warn!(queue, %error, "the queue {queue} cannot be used: {error}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if found == Found::Missing {
                // Remembered until they are invited, since next time the queue is there.
                self.lost.with(|lost| lost.insert(lane.routing_key.clone()));
            }
            // Taken out before inviting: a report that comes in meanwhile asks for another
            // invitation.
            let is_lost = self.lost.with(|lost| lost.remove(&lane.routing_key));
            let is_empty = found == Found::Existing { messages: 0 };
            if is_lost || (is_empty && lane.has_waiting) {
                uninvited.push(lane.routing_key);
            }
            if uninvited.len() == LANES_AT_ONCE {
                self.invite(std::mem::take(&mut uninvited)).await?;
            }
        }
        self.invite(uninvited).await?;
        Ok(unusable)
    }

    /// Deletes the queues of lanes that are no more, as soon as nothing is in them.
    async fn remove_retired(&self, broker: &Broker) -> anyhow::Result<()> {
        let retired: Vec<String> = sqlx::query_scalar("select devart_private.retired_lanes()")
            .fetch_all(OneTrip::Alone(&self.pool))
            .await?;
        let mut gone = Vec::new();
        for lane in retired {
            match broker.topology.remove_unused(&lane).await {
                Ok(true) => gone.push(lane),
                Ok(false) => {}
                Err(error) if harm(&error, broker.is_connected()) != Harm::Connection => {
                    tracing::warn!(lane, %error, "cannot delete the queue of lane {lane}: {error}");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !gone.is_empty() {
            sqlx::query("select devart_private.forget_retired_lanes($1)")
                .bind(gone)
                .execute(OneTrip::Alone(&self.pool))
                .await?;
        }
        Ok(())
    }

    /// Lanes that cannot be invited to now are lost, until they can.
    async fn invite(&self, lanes: Vec<String>) -> anyhow::Result<()> {
        if lanes.is_empty() {
            return Ok(());
        }
        let invited = self.invite_now(&lanes).await;
        match invited {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                count,
                "invited to {count} waiting tasks of {} lanes again",
                lanes.len()
            ),
            Err(error) => {
                self.lost.with(|lost| lost.extend(lanes));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn invite_now(&self, lanes: &[String]) -> anyhow::Result<i64> {
        let mut transaction = db::begin(&self.pool).await?;
        // As long as the whole check, and no longer: nobody waits for it any more, and the next one
        // would come on top.
        sqlx::query("set local statement_timeout = '300s'")
            .execute(&mut *transaction)
            .await?;
        let count = sqlx::query_scalar("select devart_private.invite_waiting_tasks($1)")
            .bind(lanes)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(keys: &[&str]) -> Vec<Lane> {
        let lane = |key: &&str| Lane {
            routing_key: (*key).to_owned(),
            has_waiting: false,
        };
        keys.iter().map(lane).collect()
    }

    fn lost(lost: &LostLanes) -> Vec<String> {
        let mut keys: Vec<_> = lost.with(|it| it.iter().cloned().collect());
        keys.sort();
        keys
    }

    #[test]
    fn a_lane_that_is_no_more_is_forgotten_and_one_that_was_just_made_is_not() {
        let reports = LostLanes::default();
        reports.report("todo.gone".to_owned());
        reports.report("todo.there".to_owned());
        let reported = reports.with(|it| it.clone());
        reports.report("todo.new".to_owned());
        reports.settle(&lanes(&["todo", "todo.there"]), &reported);
        assert_eq!(lost(&reports), ["todo.new", "todo.there"]);
    }

    #[test]
    fn when_a_queue_of_many_lanes_is_lost_all_are_invited_to_once() {
        let reports = LostLanes::default();
        reports.report_all();
        let there = lanes(&["todo", "todo.a"]);
        reports.settle(&there, &HashSet::new());
        assert_eq!(lost(&reports), ["todo", "todo.a"]);
        reports.with(HashSet::clear);
        reports.settle(&there, &HashSet::new());
        assert_eq!(lost(&reports), [""; 0]);
    }
}
