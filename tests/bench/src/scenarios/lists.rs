//! Whether a list is as fast with a filter as without one, beside two million finished tasks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use devart_kit::http_client;
use reqwest::Client;

use super::create_by_api::{supervisor, token_of};
use super::memory::BenchApi;
use crate::cluster::BenchCluster;
use crate::report::Report;

const FINISHED: u32 = 2_000_000;
/// Of each, all older than the finished ones.
const OTHERS: u32 = 1_000;
const ROUNDS: usize = 41;

const FILTERS: [&str; 8] = [
    "status=TODO",
    "status=FAILED",
    "status=DONE",
    "priority=HIGH",
    "status=TODO&priority=LOW",
    "flagged=true",
    "q=nobody+has+this",
    "q=finished",
];

pub async fn run(cluster: &BenchCluster, report: &mut Report) -> Result<()> {
    fill(cluster)?;
    let token = token_of(&supervisor(cluster)?)?;
    let api = BenchApi::start(cluster).await?;
    let client = http_client::local().build()?;
    let path = |filter: &str| format!("{}/api/tasks?{filter}", api.url);
    let without = median(&client, &token, &path("")).await?;
    let mut slowest = ("", Duration::ZERO);
    for filter in FILTERS {
        let took = median(&client, &token, &path(filter)).await?;
        if took > slowest.1 {
            slowest = (filter, took);
        }
    }
    let times = slowest.1.as_secs_f64() / without.as_secs_f64();
    report.judge(
        "a list of 50 tasks with the slowest filter, beside 2,000,000 finished ones",
        format!(
            "{:.1} ms ({}), {times:.1} times the {:.1} ms without a filter",
            slowest.1.as_secs_f64() * 1000.0,
            slowest.0,
            without.as_secs_f64() * 1000.0,
        ),
        "5 times",
        times <= 5.0,
    );
    Ok(())
}

/// By the table alone: triggers would take half an hour.
fn fill(cluster: &BenchCluster) -> Result<()> {
    cluster.fill(0)?;
    cluster.sql(&format!(
        "set session_replication_role = replica;
         insert into devart.tasks (title, status, priority, is_flagged)
         select 'waiting ' || n, s.status::devart.task_status, s.priority::devart.task_priority, n = 1
         from (values ('TODO', 'LOW'), ('FAILED', 'MEDIUM'), ('CANCELLED', 'HIGH')) s (status, priority),
             generate_series(1, {OTHERS}) n;
         insert into devart.tasks (title, status, priority)
         select 'finished ' || n, 'DONE', 'MEDIUM' from generate_series(1, {FINISHED}) n"
    ))?;
    let take_over = "select devart_private.index_titles(100000, '-1 second')";
    let mut rounds_without = 0;
    while rounds_without < 3 {
        let none = cluster.sql(take_over)? == "0";
        rounds_without = if none { rounds_without + 1 } else { 0 };
    }
    cluster.sql("vacuum (analyze) devart_private.task_titles")?;
    cluster.settle()
}

async fn median(client: &Client, token: &str, url: &str) -> Result<Duration> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let answer = client.get(url).bearer_auth(token).send().await?;
        ensure!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.bytes().await?;
        times.push(started.elapsed());
    }
    times.sort();
    times.get(ROUNDS / 2).copied().context("a median")
}
