//! Wake-ups reach whoever waits: none is lost, none comes before its rows, and whoever sends them.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use devart_cli::cluster::{Cluster, ClusterOptions, StopMode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::wait::{eventually, within};
use crate::support::{Database, cluster, sqlstate};

/// How long a notification may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

// ---- nothing is lost

const ROWS: i64 = 10_000;
const SESSIONS: usize = 4;
/// A row that nobody was told of would be seen with the next one. So after so many rows the sessions
/// wait until all are picked up, and begin again in the moment in which the consumer goes idle.
const ROWS_PER_ROUND: i64 = 8;
const LATEST_PICKUP: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn no_wakeup_is_lost_while_the_consumer_goes_idle() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    create_rows(&cluster)?;
    let mut pickups = consumer(&cluster).await?;
    let mut writers = Vec::new();
    for _ in 0..SESSIONS {
        writers.push(session(&cluster).await?);
    }
    let mut latest = Duration::ZERO;
    for first in (0..ROWS).step_by(ROWS_PER_ROUND as usize) {
        let round = first..first + ROWS_PER_ROUND;
        let committed = commit_at_random_moments(&mut writers, round.clone(), &mut random).await?;
        for _ in round {
            let (id, at) = pickups
                .recv()
                .await
                .with_context(|| format!("a row was never picked up, seed {seed}"))?;
            let late = at.saturating_duration_since(committed[&id]);
            ensure!(
                late < LATEST_PICKUP,
                "row {id} was picked up after {late:?}, seed {seed}"
            );
            latest = latest.max(late);
        }
    }
    println!("the latest pickup came {latest:?} after the commit");
    Ok(())
}

/// A table whose inserts wake.
fn create_rows(cluster: &Cluster) -> Result<()> {
    cluster.psql(
        "devart",
        "create table rows (id bigint primary key);
         create trigger wake after insert on rows for each statement execute function devart_private.wake_listeners('rows')",
    )?;
    Ok(())
}

/// Listens on one connection and drains on another; never looks without having been told to.
/// Gives each row with the moment in which it was seen; ends when nobody tells it anything for long.
async fn consumer(cluster: &Cluster) -> Result<mpsc::UnboundedReceiver<(i64, Instant)>> {
    let mut listener = listen(cluster, &["devart_rows"]).await?;
    let mut connection = session(cluster).await?;
    let (sender, pickups) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while timeout(PATIENCE, listener.recv())
            .await
            .is_ok_and(|told| told.is_ok())
        {
            while let Ok(ids) = drain(&mut connection).await
                && !ids.is_empty()
            {
                let now = Instant::now();
                for id in ids {
                    let _ = sender.send((id, now));
                }
            }
        }
    });
    Ok(pickups)
}

async fn drain(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar("delete from rows returning id")
        .fetch_all(connection)
        .await
}

/// Each row in a transaction of its own, after up to half a millisecond. Gives when each was committed.
async fn commit_at_random_moments(
    writers: &mut [PgConnection],
    ids: std::ops::Range<i64>,
    random: &mut StdRng,
) -> Result<HashMap<i64, Instant>> {
    let mut work = vec![Vec::new(); writers.len()];
    for id in ids {
        let writer = random.random_range(0..writers.len());
        work[writer].push((id, Duration::from_micros(random.random_range(0..500))));
    }
    let runs = writers
        .iter_mut()
        .zip(work)
        .map(|(writer, work)| commit_each(writer, work));
    let committed = futures::future::try_join_all(runs).await?;
    Ok(committed.into_iter().flatten().collect())
}

async fn commit_each(
    writer: &mut PgConnection,
    work: Vec<(i64, Duration)>,
) -> Result<Vec<(i64, Instant)>> {
    let mut committed = Vec::new();
    for (id, pause) in work {
        spin(pause).await;
        sqlx::query("insert into rows values ($1)")
            .bind(id)
            .execute(&mut *writer)
            .await?;
        committed.push((id, Instant::now()));
    }
    Ok(committed)
}

/// Timers are too coarse for moments that shall differ by microseconds.
async fn spin(pause: Duration) {
    let end = Instant::now() + pause;
    while Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

// ---- nothing comes too early, or for nothing

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_woken_before_the_rows_are_visible() -> Result<()> {
    // A commit that takes long between its decision and its rows' visibility.
    let slow_commits = ClusterOptions {
        settings: vec![
            ("commit_delay".to_owned(), "30000".to_owned()),
            ("commit_siblings".to_owned(), "0".to_owned()),
        ],
        ..ClusterOptions::default()
    };
    let cluster = cluster::with_notifier(slow_commits).await?;
    let pid = notifier(&cluster).await;
    create_rows(&cluster)?;
    let mut listener = listen(&cluster, &["devart_rows"]).await?;
    let (mut writer, mut reader) = (session(&cluster).await?, session(&cluster).await?);
    let mut sent_by_notifier = 0;
    for id in 1.. {
        let write = insert_in_a_crowd(&mut writer, id);
        let read = async {
            let told = next(&mut listener).await?;
            sent_by_notifier += i32::from(told.process_id() == pid);
            let visible: i64 = sqlx::query_scalar("select count(*) from rows")
                .fetch_one(&mut reader)
                .await?;
            ensure!(
                visible == id,
                "{visible} rows are visible when {id} were announced"
            );
            Ok(())
        };
        tokio::try_join!(write, read)?;
        if sent_by_notifier == 20 {
            return Ok(());
        }
    }
    unreachable!()
}

/// Directly after another wake-up, so that this one is left to the notifier unless the machine was slow.
async fn insert_in_a_crowd(connection: &mut PgConnection, id: i64) -> Result<()> {
    let other = "perform devart_private.wake('other')";
    let insert = format!("do $$ begin {other}; commit; insert into rows values ({id}); end $$");
    Ok(run(connection, &insert).await?)
}

#[tokio::test]
async fn a_trigger_that_names_no_topic_or_two_refuses_the_change() -> Result<()> {
    let db = Database::create().await?;
    for topics in ["", "'a', 'b'"] {
        sqlx::raw_sql(AssertSqlSafe(format!(
            "drop table if exists rows;
             create table rows ();
             create trigger wake after insert on rows for each row execute function devart_private.wake_listeners({topics})",
        )))
        .execute(&db.owner)
        .await?;
        let inserted = sqlx::query("insert into rows default values")
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&inserted), "22023", "{topics}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_transaction_wakes_nobody() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    let mut listener = listen(&cluster, &["devart_aborted", "devart_end"]).await?;
    let mut connection = session(&cluster).await?;
    for statements in [
        "begin; select devart_private.wake('aborted'); rollback",
        "begin; select devart_private.wake('aborted'); savepoint s; rollback to s; rollback",
    ] {
        run(&mut connection, statements).await?;
    }
    let failed = run(
        &mut connection,
        "begin; select devart_private.wake('aborted'); select 1 / 0",
    )
    .await;
    assert!(failed.is_err());
    run(
        &mut connection,
        "rollback; select devart_private.wake('end')",
    )
    .await?;
    assert_eq!(next(&mut listener).await?.channel(), "devart_end");
    // What had been remembered for too long would come with, or after, the first of these.
    run(&mut connection, "select devart_private.wake('end')").await?;
    assert_eq!(next(&mut listener).await?.channel(), "devart_end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subtransaction_that_rolls_back_loses_no_wakeup_of_the_outer_one() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    let mut listener = listen(&cluster, &["devart_outer"]).await?;
    let mut connection = session(&cluster).await?;
    for statements in [
        "begin; select devart_private.wake('outer'); savepoint s; select devart_private.wake('outer'); rollback to s; commit",
        "begin; savepoint s; select devart_private.wake('outer'); rollback to s; select devart_private.wake('outer'); commit",
        "begin; savepoint s; select devart_private.wake('outer'); release s; commit",
    ] {
        run(&mut connection, statements).await?;
        assert_eq!(next(&mut listener).await?.channel(), "devart_outer");
    }
    Ok(())
}

// ---- who sends

#[tokio::test(flavor = "multi_thread")]
async fn without_preloading_the_session_itself_sends() -> Result<()> {
    let db = Database::create().await?;
    let mut listener = PgListener::connect(&db.url()).await?;
    listener.listen("devart_rows").await?;
    session_sends(&mut listener, &mut db.session().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_database_the_session_itself_sends() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    cluster.create_database("other")?;
    cluster.psql("other", "create extension pg_devart")?;
    let mut listener = PgListener::connect(&cluster.url("other")).await?;
    listener.listen("devart_rows").await?;
    let mut connection = PgConnection::connect(&cluster.url("other")).await?;
    session_sends(&mut listener, &mut connection).await
}

async fn session_sends(listener: &mut PgListener, connection: &mut PgConnection) -> Result<()> {
    run(
        connection,
        "begin; select devart_private.wake('rows'); rollback",
    )
    .await?;
    wake_in_a_crowd(connection, "rows").await?;
    let own = pid(connection).await?;
    for _ in 0..2 {
        let told = next(listener).await?;
        assert_eq!((told.channel(), told.process_id()), ("devart_rows", own));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_after_a_quiet_moment_sends_itself() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    let mut listener = listen(&cluster, &["devart_rows"]).await?;
    let mut connection = session(&cluster).await?;
    let own = pid(&mut connection).await?;
    // Between two tries nobody sends.
    eventually("the session itself sends", async || {
        wake(&mut connection, "rows").await.expect("a wake-up");
        let told = next(&mut listener).await.expect("every wake-up arrives");
        (told.process_id() == own).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_reaches_its_own_channel_also_when_the_notifier_has_no_room_left() -> Result<()>
{
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let notifier = notifier(&cluster).await;
    let mut connection = session(&cluster).await?;
    let own = pid(&mut connection).await?;
    let channels = Vec::from_iter((0..70).map(|number| format!("devart_topic.{number}")));
    let mut listener = listen(
        &cluster,
        &Vec::from_iter(channels.iter().map(String::as_str)),
    )
    .await?;
    let mut owed = HashMap::new();
    for (number, channel) in channels.iter().enumerate() {
        let sender = if number < 64 { notifier } else { own };
        within(PATIENCE, "the one who should sends", async || {
            wake_in_a_crowd(&mut connection, &format!("topic.{number}"))
                .await
                .expect("two wake-ups");
            *owed.entry(channel.clone()).or_insert(0) += 2;
            told_by(&mut listener, channel, sender, &mut owed).await
        })
        .await;
    }
    Ok(())
}

/// Reads what arrives until this sender tells of the channel, or nobody tells anything any more. No channel may be told
/// more often than it is owed; less often it may be, as the notifier tells once of what came together.
async fn told_by(
    listener: &mut PgListener,
    channel: &str,
    sender: u32,
    owed: &mut HashMap<String, u32>,
) -> Option<()> {
    while let Ok(told) = timeout(Duration::from_millis(200), listener.recv()).await {
        let told = told.expect("the listener stays connected");
        let left = owed.get_mut(told.channel()).filter(|left| **left > 0);
        *left.unwrap_or_else(|| panic!("{} told in vain", told.channel())) -= 1;
        assert_eq!(told.payload(), "");
        if (told.channel(), told.process_id()) == (channel, sender) {
            return Some(());
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_of_one_transaction_all_arrive() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    let channels = BTreeSet::from(["devart_a", "devart_b.c", "devart_D"]);
    let mut listener = listen(&cluster, &Vec::from_iter(channels.iter().copied())).await?;
    let all = "select devart_private.wake(t) from unnest('{a,b.c,D}'::text[]) t";
    run(&mut session(&cluster).await?, all).await?;
    let mut told = Vec::new();
    for _ in &channels {
        told.push(next(&mut listener).await?);
    }
    assert_eq!(
        told.iter()
            .map(PgNotification::channel)
            .collect::<BTreeSet<_>>(),
        channels
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_longer_than_a_name_wakes_those_who_listen_to_its_beginning() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    notifier(&cluster).await;
    // 7 + 55 bytes, and a character of two bytes that 63 would cut in half.
    let topic = format!("{}éand so on, for long enough", "x".repeat(55));
    let mut listener = listen(&cluster, &[&format!("devart_{topic}")]).await?;
    wake(&mut session(&cluster).await?, &topic).await?;
    assert_eq!(
        next(&mut listener).await?.channel(),
        format!("devart_{}", "x".repeat(55))
    );
    Ok(())
}

// ---- what can happen to the notifier

#[tokio::test(flavor = "multi_thread")]
async fn wakeups_work_again_after_the_notifier_is_killed() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let killed = notifier(&cluster).await;
    // SAFETY: a process of this test's own cluster. Postgres answers with a crash restart.
    unsafe { libc::kill(killed as i32, libc::SIGKILL) };
    let next = another_notifier(&cluster, killed).await;
    notifier_sends(&cluster, next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wakeups_work_again_after_a_restart() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let stopped = notifier(&cluster).await;
    tokio::task::block_in_place(|| cluster.restart(StopMode::Fast))?;
    let next = another_notifier(&cluster, stopped).await;
    notifier_sends(&cluster, next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wakeups_arrive_while_the_notifier_ends_and_begins() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let ended = notifier(&cluster).await;
    let mut listener = listen(&cluster, &["devart_rows"]).await?;
    let mut connection = session(&cluster).await?;
    cluster.psql("devart", &format!("select pg_terminate_backend({ended})"))?;
    within(PATIENCE, "the next notifier sends", async || {
        wake_in_a_crowd(&mut connection, "rows")
            .await
            .expect("wake-ups");
        let told = next(&mut listener).await.expect("every wake-up arrives");
        (told.process_id() == find_notifier(&cluster)? && told.process_id() != ended).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_can_be_copied_and_dropped_and_made_again() -> Result<()> {
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let first = notifier(&cluster).await;
    cluster.psql("postgres", "create database copy template devart")?;
    another_notifier(&cluster, first).await;
    cluster.psql("postgres", "drop database devart")?;
    cluster.psql("postgres", "alter database copy rename to devart")?;
    let last = notifier(&cluster).await;
    notifier_sends(&cluster, last).await
}

// ---- what the tests share

async fn session(cluster: &Cluster) -> sqlx::Result<PgConnection> {
    PgConnection::connect(&cluster.url("devart")).await
}

async fn listen(cluster: &Cluster, channels: &[&str]) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect(&cluster.url("devart")).await?;
    listener.listen_all(channels.iter().copied()).await?;
    Ok(listener)
}

async fn next(listener: &mut PgListener) -> Result<PgNotification> {
    let told = timeout(PATIENCE, listener.recv()).await;
    Ok(told.context("nobody was told")??)
}

async fn wake(connection: &mut PgConnection, topic: &str) -> sqlx::Result<()> {
    sqlx::query("select devart_private.wake($1)")
        .bind(topic)
        .execute(connection)
        .await
        .map(drop)
}

async fn run(connection: &mut PgConnection, statements: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(connection)
        .await
        .map(drop)
}

/// The process that runs now; waits for one that is ready to send.
async fn notifier(cluster: &Cluster) -> u32 {
    another_notifier(cluster, 0).await
}

async fn another_notifier(cluster: &Cluster, than: u32) -> u32 {
    eventually("a notifier serves the database", async || {
        find_notifier(cluster).filter(|pid| *pid != than)
    })
    .await
}

/// `None` also while the server is away.
fn find_notifier(cluster: &Cluster) -> Option<u32> {
    let found = cluster.psql(
        "postgres",
        "select pid from pg_stat_activity where backend_type = 'devart notifier' and datname = 'devart' and wait_event = 'Extension'",
    );
    found.ok()?.trim().parse().ok()
}

async fn notifier_sends(cluster: &Cluster, pid: u32) -> Result<()> {
    let mut listener = listen(cluster, &["devart_rows"]).await?;
    let mut connection = session(cluster).await?;
    within(PATIENCE, "the notifier sends", async || {
        wake_in_a_crowd(&mut connection, "rows")
            .await
            .expect("wake-ups");
        let told = next(&mut listener).await.expect("every wake-up arrives");
        (told.process_id() == pid).then_some(())
    })
    .await;
    Ok(())
}

/// Twice in a moment: even where the first was sent by the session itself, the second is left to the notifier.
async fn wake_in_a_crowd(connection: &mut PgConnection, topic: &str) -> sqlx::Result<()> {
    let wake = format!("perform devart_private.wake('{topic}'); commit");
    run(connection, &format!("do $$ begin {wake}; {wake}; end $$")).await
}

async fn pid(connection: &mut PgConnection) -> Result<u32> {
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    Ok(pid.unsigned_abs())
}
