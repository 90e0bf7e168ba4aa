//! How long a task waits on an idle system until somebody works on it.
//!
//! Each task carries the time at which it was enqueued; whoever starts it takes the difference.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;

use super::memory::BenchApi;
use crate::cluster::BenchCluster;
use crate::latencies::Latencies;
use crate::report::Report;

const PER_SECOND: u64 = 50;
/// Short, so that each queue meets the same good and bad moments of the machine.
const TURN_SECONDS: u32 = 3;
/// For each second that other measurements take: a p99 hangs on few tasks, so it needs many.
const TURNS_PER_SECOND: u32 = 2;
/// Tasks at the beginning of each turn that warm connections, plans and caches up; not counted.
const WARM_UP: u64 = 50;

pub(super) const CREATE_TASK: &str = "select devart.create_task('bench', payload => jsonb_build_object('enqueued_at_us', $1::bigint))";
const ENQUEUED_AT: &str = "(payload ->> 'enqueued_at_us')::bigint";

pub async fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    by_sql(cluster, seconds, report).await?;
    by_sdk(cluster, &connect(cluster).await?, seconds, report).await
}

/// As devart's own parts do, without asking the server for a sign of life before each statement.
async fn connect(cluster: &BenchCluster) -> Result<PgPool> {
    let options = PgPoolOptions::new()
        .max_connections(4)
        .test_before_acquire(false);
    Ok(options.connect(&cluster.url()).await?)
}

/// On a bare table, through the notifier and by plain NOTIFY in many short turns; who goes first changes from turn to
/// turn. Nothing else happens meanwhile, not even the preparation of a turn. Each queue has a database of its own, since a
/// NOTIFY wakes every session of its database that listens, to whatever channel.
async fn by_sql(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    let bare = cluster.with_plain_notify("bare").await?;
    let plain = cluster.with_plain_notify("plain_notify").await?;
    let queues = [
        Queue::bare(&bare).await?,
        Queue::devart(cluster).await?,
        Queue::devart(&plain).await?,
    ];
    for database in [&bare, cluster, &plain] {
        database.come_to_rest()?;
    }
    let mut measured = [(); 3].map(|()| Latencies::default());
    for turn in 0..(seconds * TURNS_PER_SECOND) as usize {
        for which in (0..3).map(|place| (turn + place) % 3) {
            measured[which].add(&queues[which].pickups(TURN_SECONDS).await?);
        }
    }
    report_by_sql(&measured, report);
    Ok(())
}

fn report_by_sql([bare, notifier, plain]: &[Latencies; 3], report: &mut Report) {
    report.note(
        "enqueue to claimed on a bare table, by plain NOTIFY, 50/s",
        bare.text(),
    );
    judge(report, "enqueue to claimed, by SQL, 50/s", notifier, 6.0);
    report.judge(
        "the same by plain NOTIFY",
        plain.text(),
        "p99 not better by a tenth",
        notifier.p99_ms() <= 1.1 * plain.p99_ms(),
    );
}

/// Where a producer writes, and a consumer listens and claims as long as the queue is kept.
struct Queue {
    pool: PgPool,
    /// Creates a task with the time at which it was enqueued.
    create: &'static str,
    latencies: Receiver<u64>,
    consumer: JoinHandle<Result<()>>,
}

impl Queue {
    async fn devart(cluster: &BenchCluster) -> Result<Self> {
        let (agent, _) = cluster.register_agent("pickup by sql")?;
        let claim = format!("select {ENQUEUED_AT} from devart.claim_next_task('{agent}')");
        Self::open(cluster, CREATE_TASK, "devart_tasks", claim).await
    }

    /// What two commits and a NOTIFY take at the least.
    async fn bare(cluster: &BenchCluster) -> Result<Self> {
        let create = "insert into bare.notified (payload) values (jsonb_build_object('enqueued_at_us', $1::bigint))";
        let claim = format!(
            "update bare.notified set status = 1 where id = (
                 select id from bare.notified where status = 0 and lane_id = 1
                 order by priority, ready_at limit 1 for update skip locked)
             returning {ENQUEUED_AT}"
        );
        Self::open(cluster, create, "devart_bench", claim).await
    }

    /// `claim` gives the time that `create` was told.
    async fn open(
        cluster: &BenchCluster,
        create: &'static str,
        channel: &'static str,
        claim: String,
    ) -> Result<Self> {
        cluster.fill(0)?;
        let pool = connect(cluster).await?;
        let (sender, latencies) = mpsc::channel();
        let consumer = tokio::spawn(consume(pool.clone(), channel, claim, sender));
        Ok(Queue {
            pool,
            create,
            latencies,
            consumer,
        })
    }

    async fn pickups(&self, seconds: u32) -> Result<Vec<u64>> {
        enqueue_and_collect(&self.pool, self.create, seconds, &self.latencies).await
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.consumer.abort();
    }
}

/// A consumer that listens on one connection and claims on another.
async fn consume(pool: PgPool, channel: &str, claim: String, latencies: Sender<u64>) -> Result<()> {
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(channel).await?;
    loop {
        while let Some(enqueued_at) = enqueued_at_of_next(&pool, &claim).await? {
            latencies.send(now_us() - enqueued_at)?;
        }
        listener.recv().await?;
    }
}

async fn enqueued_at_of_next(pool: &PgPool, claim: &str) -> Result<Option<u64>> {
    let enqueued_at: Option<i64> = sqlx::query_scalar(AssertSqlSafe(claim))
        .fetch_optional(pool)
        .await?;
    Ok(enqueued_at.map(i64::unsigned_abs))
}

/// An agent written with the SDK, through the API.
async fn by_sdk(
    cluster: &BenchCluster,
    pool: &PgPool,
    seconds: u32,
    report: &mut Report,
) -> Result<()> {
    cluster.fill(0)?;
    let api = BenchApi::start(cluster).await?;
    let (_, key) = cluster.register_agent("pickup by sdk")?;
    let (mut agent, latencies) = start_agent(&api.url, &key)?;
    let measured = enqueue_and_collect(pool, CREATE_TASK, seconds, &latencies).await;
    agent.kill()?;
    agent.wait()?;
    judge(
        report,
        "enqueue to handler start, by API and SDK, 50/s",
        &Latencies::of(measured?),
        15.0,
    );
    Ok(())
}

/// An agent of this folder, run by the Python that `devart setup` prepared.
pub(super) fn python_agent(file: &str, api_url: &str, key: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut agent = Command::new(root.join(".devart/venv/bin/python"));
    agent
        .arg(root.join("tests/bench").join(file))
        .env("DEVART_API_URL", api_url)
        .env("DEVART_API_KEY", key);
    agent
}

/// Starts the agent; it prints one latency a line.
fn start_agent(api_url: &str, key: &str) -> Result<(Child, Receiver<u64>)> {
    let mut agent = python_agent("pickup_agent.py", api_url, key)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the agent; did `devart setup` run?")?;
    let lines = BufReader::new(agent.stdout.take().context("the agent has no output")?).lines();
    let (sender, latencies) = mpsc::channel();
    std::thread::spawn(move || {
        for latency in lines
            .map_while(Result::ok)
            .filter_map(|line| line.parse().ok())
        {
            if sender.send(latency).is_err() {
                return;
            }
        }
    });
    Ok((agent, latencies))
}

/// Enqueues at a steady rate and waits for the latency of each task. Gives the counted ones.
pub(super) async fn enqueue_and_collect(
    pool: &PgPool,
    create: &'static str,
    seconds: u32,
    latencies: &Receiver<u64>,
) -> Result<Vec<u64>> {
    let total = WARM_UP + PER_SECOND * u64::from(seconds);
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / PER_SECOND));
    for _ in 0..total {
        ticks.tick().await;
        sqlx::query(create)
            .bind(now_us().cast_signed())
            .execute(pool)
            .await?;
    }
    let mut measured = Vec::new();
    for _ in 0..total {
        let latency =
            tokio::task::block_in_place(|| latencies.recv_timeout(Duration::from_secs(30)));
        measured.push(latency.context("a task was not picked up within 30 s")?);
    }
    ensure!(
        measured.len() as u64 == total,
        "some tasks were not picked up"
    );
    Ok(measured.split_off(WARM_UP as usize))
}

pub(super) fn judge(report: &mut Report, what: &str, latencies: &Latencies, limit_ms: f64) {
    report.judge(
        what,
        latencies.text(),
        &format!("p99 under {limit_ms:.0} ms"),
        latencies.p99_ms() < limit_ms,
    );
}

pub(super) fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_micros() as u64)
}
