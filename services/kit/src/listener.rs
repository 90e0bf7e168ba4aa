//! One LISTEN connection per process, turned into wake-ups.
//!
//! A notification is only a hint that rows changed: it carries nothing, several become one, and
//! after a lost connection everybody is woken because notifications may have been missed.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::reconnect::Pauses;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// A connection that was silent for so long is asked whether it still lives: a cut network says nothing.
const ASK_AFTER_SILENCE: Duration = Duration::from_secs(30);
/// Each question, and connecting with all of its channels.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Tells its holder that something may have changed since it last looked.
#[derive(Debug, Clone)]
pub struct Wakeups {
    generation: watch::Receiver<u64>,
}

impl Wakeups {
    /// Waits for a wake-up that this holder has not seen. Never returns once the listener ended.
    pub async fn next(&mut self) {
        if self.generation.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The process's listening connection. Connects with the first subscription, and again whenever it is lost.
#[derive(Debug, Clone)]
pub struct Listener {
    requests: mpsc::UnboundedSender<Subscription>,
}

impl Listener {
    /// Listens until shutdown.
    pub fn spawn(options: PgConnectOptions, shutdown: CancellationToken) -> Self {
        let (requests, subscriptions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            tokio::select! {
                () = listen_for_ever(options, subscriptions) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Self { requests }
    }

    /// Wake-ups of one channel from now on. The first one comes as soon as the channel is listened to.
    pub fn subscribe(&self, channel: impl Into<String>) -> Wakeups {
        let (wake, generation) = watch::channel(0);
        let channel = channel.into();
        // Fails after shutdown only, when nobody is woken any more.
        let _ = self.requests.send(Subscription { channel, wake });
        Wakeups { generation }
    }
}

#[derive(Debug)]
struct Subscription {
    channel: String,
    wake: watch::Sender<u64>,
}

impl Subscription {
    fn bump(&self) {
        self.wake
            .send_modify(|generation| *generation = generation.wrapping_add(1));
    }
}

async fn listen_for_ever(
    options: PgConnectOptions,
    mut requests: mpsc::UnboundedReceiver<Subscription>,
) {
    let Some(first) = requests.recv().await else {
        return;
    };
    let mut subscriptions = vec![first];
    let mut pauses = Pauses::new(FIRST_BACKOFF, LONGEST_BACKOFF);
    loop {
        let began_at = Instant::now();
        match in_time(connect(&options, &subscriptions)).await {
            Ok(mut listener) => {
                let lost = serve(&mut listener, &mut subscriptions, &mut requests).await;
                tracing::warn!(error = ?lost.err(), "lost the listening connection, reconnecting");
            }
            Err(error) => tracing::warn!(%error, "cannot listen, trying again"),
        }
        tokio::time::sleep(pauses.after(began_at.elapsed())).await;
    }
}

/// A connection of its own, so that it never takes one from the request pool.
async fn connect(
    options: &PgConnectOptions,
    subscriptions: &[Subscription],
) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    for subscription in subscriptions {
        listen(&mut listener, subscription).await?;
    }
    Ok(listener)
}

/// What was missed before it was listened to counts as a wake-up.
async fn listen(listener: &mut PgListener, subscription: &Subscription) -> Result<(), sqlx::Error> {
    in_time(listener.listen(&subscription.channel)).await?;
    tracing::info!(
        channel = subscription.channel,
        "listening on {}",
        subscription.channel
    );
    subscription.bump();
    Ok(())
}

/// Returns when the connection is lost.
async fn serve(
    listener: &mut PgListener,
    subscriptions: &mut Vec<Subscription>,
    requests: &mut mpsc::UnboundedReceiver<Subscription>,
) -> Result<(), sqlx::Error> {
    loop {
        tokio::select! {
            notification = listener.try_recv() => match notification? {
                Some(notification) => wake(subscriptions, notification.channel()),
                None => return Ok(()),
            },
            Some(subscription) = requests.recv() => {
                // Before it can fail: the next connection must listen to it too.
                subscriptions.push(subscription);
                if let Some(subscription) = subscriptions.last() {
                    listen(listener, subscription).await?;
                }
            }
            () = tokio::time::sleep(ASK_AFTER_SILENCE) => ask(listener).await?,
        }
    }
}

fn wake(subscriptions: &[Subscription], channel: &str) {
    subscriptions
        .iter()
        .filter(|subscription| subscription.channel == channel)
        .for_each(Subscription::bump);
}

async fn ask(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    let answer = sqlx::query("select 1").execute(listener);
    in_time(answer).await.map(drop)
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let done = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    done.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(channel: &str) -> (Subscription, Wakeups) {
        let (wake, generation) = watch::channel(0);
        let channel = channel.to_owned();
        (Subscription { channel, wake }, Wakeups { generation })
    }

    async fn is_woken(wakeups: &mut Wakeups) -> bool {
        tokio::time::timeout(Duration::from_millis(20), wakeups.next())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn several_bumps_become_one_wakeup() {
        let (subscription, mut wakeups) = subscription("c");
        subscription.bump();
        subscription.bump();
        wakeups.next().await;
        assert!(
            !is_woken(&mut wakeups).await,
            "no second wake-up without another bump"
        );
    }

    #[tokio::test]
    async fn a_notification_wakes_only_those_of_its_channel() {
        let (one, mut of_one) = subscription("one");
        let (two, mut of_two) = subscription("two");
        wake(&[one, two], "two");
        of_two.next().await;
        assert!(!is_woken(&mut of_one).await);
    }
}
