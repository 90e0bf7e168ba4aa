//! One LISTEN connection per process, turned into wake-ups.
//!
//! A notification is only a hint that rows changed: it carries nothing, several become one, and
//! after a lost connection everybody is woken because notifications may have been missed.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

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

/// Listens on `channel` until shutdown, reconnecting whenever the connection is lost.
pub fn spawn(
    options: PgConnectOptions,
    channel: &'static str,
    shutdown: CancellationToken,
) -> Wakeups {
    let (wake, generation) = watch::channel(0);
    tokio::spawn(async move {
        tokio::select! {
            () = listen_for_ever(options, channel, &wake) => {}
            () = shutdown.cancelled() => {}
        }
    });
    Wakeups { generation }
}

async fn listen_for_ever(
    options: PgConnectOptions,
    channel: &'static str,
    wake: &watch::Sender<u64>,
) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match connect(&options, channel).await {
            Ok(mut listener) => {
                tracing::info!(channel, "listening on {channel}");
                backoff = FIRST_BACKOFF;
                bump(wake);
                forward(&mut listener, wake).await;
                tracing::warn!(channel, "lost the listening connection, reconnecting");
            }
            Err(error) => {
                tracing::warn!(channel, %error, "cannot listen on {channel}, trying again in {backoff:?}");
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// A connection of its own, so that it never takes one from the request pool.
async fn connect(options: &PgConnectOptions, channel: &str) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    Ok(listener)
}

/// Returns when the connection is lost.
async fn forward(listener: &mut PgListener, wake: &watch::Sender<u64>) {
    while let Ok(Some(_)) = listener.try_recv().await {
        bump(wake);
    }
}

fn bump(wake: &watch::Sender<u64>) {
    wake.send_modify(|generation| *generation = generation.wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn several_bumps_become_one_wakeup() {
        let (wake, generation) = watch::channel(0);
        let mut wakeups = Wakeups { generation };
        bump(&wake);
        bump(&wake);
        wakeups.next().await;
        let second = tokio::time::timeout(Duration::from_millis(20), wakeups.next()).await;
        assert!(second.is_err(), "no second wake-up without another bump");
    }
}
