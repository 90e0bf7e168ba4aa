//! How long a task waits on an idle system until somebody works on it.
//!
//! Each task carries the time at which it was enqueued; whoever starts it takes the difference.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::memory::BenchApi;
use crate::cluster::BenchCluster;
use crate::pgbench::percentile_of;
use crate::report::Report;

const PER_SECOND: u64 = 50;
const TURNS: usize = 8;
/// Tasks at the beginning that warm connections and plans up; not counted.
const WARM_UP: u64 = 50;

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

/// Through the notifier and by plain NOTIFY in turns, so that both meet the same machine; so many that a percentile
/// does not hang on a few slow writes of the disk.
async fn by_sql(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    let plain = cluster.with_plain_notify().await?;
    let mut latencies = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        let measured = pickups_by_sql([cluster, &plain][turn % 2], turn, seconds).await?;
        latencies[turn % 2].extend(measured);
    }
    latencies.iter_mut().for_each(|it| it.sort_unstable());
    let [notifier, plain] = latencies;
    judge(report, "enqueue to claimed, by SQL, 50/s", &notifier, 6.0);
    let [notifier, plain] =
        [notifier, plain].map(|sorted| percentile_of(&sorted, 99.0) as f64 / 1e3);
    report.judge(
        "p99 of the same by plain NOTIFY",
        format!("{plain:.1} ms"),
        "not better by a tenth",
        notifier <= 1.1 * plain,
    );
    Ok(())
}

/// A consumer that listens on one connection and claims on another.
async fn pickups_by_sql(cluster: &BenchCluster, turn: usize, seconds: u32) -> Result<Vec<u64>> {
    cluster.fill(0)?;
    let pool = connect(cluster).await?;
    let (agent, _) = cluster.register_agent(&format!("pickup by sql {turn}"))?;
    let (sender, latencies) = mpsc::channel();
    let consumer = tokio::spawn(consume(pool.clone(), agent, sender));
    let measured = enqueue_and_collect(&pool, seconds, &latencies).await;
    consumer.abort();
    measured
}

async fn consume(pool: PgPool, agent: String, latencies: Sender<u64>) -> Result<()> {
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("devart_tasks").await?;
    loop {
        while let Some(enqueued_at) = claim(&pool, &agent).await? {
            latencies.send(now_us() - enqueued_at)?;
        }
        listener.recv().await?;
    }
}

async fn claim(pool: &PgPool, agent: &str) -> Result<Option<u64>> {
    let enqueued_at: Option<i64> = sqlx::query_scalar(
        "select (payload ->> 'enqueued_at_us')::bigint from devart.claim_next_task($1::uuid)",
    )
    .bind(agent)
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
    let measured = enqueue_and_collect(pool, seconds, &latencies).await;
    agent.kill()?;
    agent.wait()?;
    judge(
        report,
        "enqueue to handler start, by API and SDK, 50/s",
        &measured?,
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

/// Enqueues at a steady rate and waits for the latency of each task. Gives the counted ones, sorted.
pub(super) async fn enqueue_and_collect(
    pool: &PgPool,
    seconds: u32,
    latencies: &Receiver<u64>,
) -> Result<Vec<u64>> {
    let total = WARM_UP + PER_SECOND * u64::from(seconds);
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / PER_SECOND));
    for _ in 0..total {
        ticks.tick().await;
        sqlx::query("select devart.create_task('bench', payload => jsonb_build_object('enqueued_at_us', $1::bigint))")
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
    let mut counted = measured.split_off(WARM_UP as usize);
    counted.sort_unstable();
    Ok(counted)
}

pub(super) fn judge(report: &mut Report, what: &str, latencies_us: &[u64], limit_ms: f64) {
    let [p50, p99] =
        [50.0, 99.0].map(|percentile| percentile_of(latencies_us, percentile) as f64 / 1e3);
    let target = format!("p99 under {limit_ms:.0} ms");
    report.judge(
        what,
        format!("p50 {p50:.1} ms, p99 {p99:.1} ms"),
        &target,
        p99 < limit_ms,
    );
}

pub(super) fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_micros() as u64)
}
