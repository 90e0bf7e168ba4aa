//! Outbox workers of the tests: the real worker with a handler that each test scripts, and one as a process.

use std::collections::HashSet;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::ports;
use devart_kit::config::{PoolArgs, Pooler};
use devart_kit::db::{self, Database as Door};
use devart_kit::outbox::{self, Delivery, HandlerError, OutboxHandler, OutboxOptions};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgExecutor;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::program::ask_to_stop;
use super::wait::within;

/// The topic of the tests. Its bridge has a login of its own.
pub const TOPIC: &str = "rabbitmq.test";

/// What the tests' messages say.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub n: i64,
}

/// What the handlers of one test saw, whoever ran them.
#[derive(Debug, Default)]
pub struct Journal {
    /// The messages whose handling began: number and attempt.
    pub begun: Vec<(i64, u32)>,
    /// The messages that were handled to the end, by key.
    pub ended: Vec<(Option<String>, i64)>,
    /// The messages whose handling was cut off.
    pub dropped: Vec<i64>,
    /// What was handled by two at a time.
    pub overlaps: Vec<String>,
    in_hand: HashSet<String>,
}

/// A handler that writes into a journal and then does as the test says.
#[derive(Clone)]
pub struct Script<F> {
    pub journal: Arc<Mutex<Journal>>,
    act: F,
}

impl<F> Script<F> {
    pub fn new(act: F) -> Self {
        Self {
            journal: Arc::default(),
            act,
        }
    }

    /// Reads the journal.
    pub fn read<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.journal.lock().expect("nobody panicked with it"))
    }

    /// Numbers of the messages that were handled to the end.
    pub fn ended(&self) -> Vec<i64> {
        self.read(|it| it.ended.iter().map(|(_, n)| *n).collect())
    }
}

impl<F, R> OutboxHandler for Script<F>
where
    F: Fn(Delivery<Message>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    const TOPIC: &'static str = TOPIC;
    type Message = Message;

    async fn handle(&self, delivery: Delivery<Message>) -> Result<(), HandlerError> {
        let mut visit = Visit::begin(&self.journal, &delivery);
        let outcome = (self.act)(delivery).await;
        visit.has_ended = outcome.is_ok();
        visit.is_cut_off = false;
        outcome
    }
}

/// One message being handled. Notices when it is dropped half-way.
struct Visit {
    journal: Arc<Mutex<Journal>>,
    key: Option<String>,
    n: i64,
    exclusive: String,
    has_ended: bool,
    is_cut_off: bool,
}

impl Visit {
    fn begin(journal: &Arc<Mutex<Journal>>, delivery: &Delivery<Message>) -> Self {
        let (key, n) = (delivery.key.clone(), delivery.message.n);
        let exclusive = key.clone().unwrap_or_else(|| format!("message {n}"));
        let mut it = journal.lock().expect("nobody panicked with it");
        it.begun.push((n, delivery.attempt));
        if !it.in_hand.insert(exclusive.clone()) {
            it.overlaps.push(exclusive.clone());
        }
        drop(it);
        Self {
            journal: Arc::clone(journal),
            key,
            n,
            exclusive,
            has_ended: false,
            is_cut_off: true,
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Ok(mut it) = self.journal.lock() else {
            return;
        };
        it.in_hand.remove(&self.exclusive);
        if self.has_ended {
            it.ended.push((self.key.take(), self.n));
        }
        if self.is_cut_off {
            it.dropped.push(self.n);
        }
    }
}

/// A worker within the test's process, with connections of its own.
pub struct Worker {
    shutdown: CancellationToken,
    running: JoinHandle<Result<()>>,
}

impl Worker {
    /// Starts a worker that logs in with `url`.
    pub fn start<H: OutboxHandler>(url: &str, handler: H, options: OutboxOptions) -> Result<Self> {
        let args = PoolArgs {
            max_connections: 4,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(15),
            pooler: Pooler::None,
            direct_url: None,
        };
        let shutdown = CancellationToken::new();
        let door = Door::open(
            db::connect_options(url, "outbox test", &args)?,
            db::listen_options(url, "outbox test", &args)?,
            &args,
            &shutdown,
        );
        let running = tokio::spawn(outbox::run(door, handler, options, shutdown.clone()));
        Ok(Self { shutdown, running })
    }

    /// Asks it to stop without waiting for it.
    pub fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits for its end.
    pub async fn end(self) -> Result<()> {
        self.running.await.context("the worker panicked")?
    }

    /// Stops it.
    pub async fn stop(self) -> Result<()> {
        self.ask_to_stop();
        self.end().await
    }
}

/// Options for a test that does not wait for backoffs: the poll is frequent.
pub fn quick() -> OutboxOptions {
    OutboxOptions {
        batch_size: 10,
        concurrency: 10,
        retry_base_ms: 1,
        retry_max_ms: 5,
        poll_ms: 50,
        ..OutboxOptions::default()
    }
}

/// Lets rows of the tests' topic be written.
pub async fn enable(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("select devart.set_setting('outbox_topics', $1)")
        .bind(json!([TOPIC]))
        .execute(executor)
        .await
        .map(drop)
}

/// Writes the messages `from` to `to`, one key for all of them or none, and wakes the workers.
pub async fn enqueue(
    executor: impl PgExecutor<'_>,
    key: Option<&str>,
    from: i64,
    to: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "select devart_private.enqueue($1, $2, jsonb_build_object('n', n)) from generate_series($3, $4) n",
    )
    .bind(TOPIC)
    .bind(key)
    .bind(from)
    .bind(to)
    .execute(executor)
    .await
    .map(drop)
}

/// Rows that are in the outbox, buried ones too. None while the server is away.
pub async fn count(executor: impl PgExecutor<'_>) -> Option<i64> {
    sqlx::query_scalar("select count(*) from devart_private.outbox")
        .fetch_one(executor)
        .await
        .ok()
}

/// A buried row.
#[derive(Debug, sqlx::FromRow)]
pub struct Buried {
    pub attempt: i32,
    pub last_error: String,
}

/// What was given up.
pub async fn buried(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Buried>> {
    sqlx::query_as(
        "select attempt, last_error from devart_private.outbox where buried_at is not null order by id",
    )
    .fetch_all(executor)
    .await
}

/// The worker as a process (`tests/outbox_sidecar.rs`).
pub struct Sidecar {
    child: Child,
    pub url: String,
}

impl Sidecar {
    /// Starts a process that logs in with `database_url`, with further environment variables.
    pub fn start(database_url: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let bind = format!("127.0.0.1:{}", ports::any_free()?);
        let child = Command::new(env!("CARGO_BIN_EXE_outbox-sidecar"))
            .env("BRIDGE_DATABASE_URL", database_url)
            .env("BRIDGE_BIND", &bind)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting outbox-sidecar")?;
        let url = format!("http://{bind}");
        Ok(Self { child, url })
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop).context("waiting for its end")
    }

    /// Nobody reads its log any more.
    pub fn break_log_pipe(&mut self) {
        self.child.stdout = None;
        self.child.stderr = None;
    }

    /// Asks it to stop, as a supervisor does, and waits for its end.
    pub async fn stop(mut self) -> ExitStatus {
        ask_to_stop(&self.child);
        let child = &mut self.child;
        within(Duration::from_secs(20), "the sidecar ends", async || {
            child.try_wait().expect("the sidecar is our child")
        })
        .await
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
