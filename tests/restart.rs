//! Workers go on through a restart of Postgres, orderly or crashing, and nothing is lost or done twice.

use std::time::Duration;

use anyhow::Result;
use devart_cli::cluster::{Cluster, StopMode};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::support::cluster;
use crate::support::queue::{claim, complete, create_many};
use crate::support::wait::{ends_within, eventually};

const TASKS: i64 = 2_000;
const WORKERS: usize = 8;
/// For all of the work, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_during_claims_loses_nothing() -> Result<()> {
    survive(StopMode::Fast).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_claims_loses_nothing() -> Result<()> {
    survive(StopMode::Immediate).await
}

async fn survive(mode: StopMode) -> Result<()> {
    let cluster = cluster::durable().await?;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect(&cluster.url("devart"))
        .await?;
    create_many(&pool, TASKS as i32).await?;
    let workers = futures::future::join_all(
        (0..WORKERS).map(|_| tokio::spawn(work_until_all_is_done(cluster.url("devart")))),
    );
    let restarts = restart_at_a_quarter_and_a_half(&cluster, &pool, mode);
    let (finished, restarted) = tokio::join!(workers, restarts);
    restarted?;
    for worker in finished {
        worker?;
    }
    assert_eq!(done(&pool).await, Some(TASKS));
    let completed_twice: i64 = sqlx::query_scalar(
        "select count(*) from (select from devart.task_events where to_status = 'DONE' group by task_id having count(*) > 1) t",
    )
    .fetch_one(&pool)
    .await?;
    assert_eq!(completed_twice, 0);
    Ok(())
}

async fn restart_at_a_quarter_and_a_half(
    cluster: &Cluster,
    pool: &PgPool,
    mode: StopMode,
) -> Result<()> {
    for share in [4, 2] {
        eventually("the workers get on", async || {
            (done(pool).await? >= TASKS / share).then_some(())
        })
        .await;
        tokio::task::block_in_place(|| cluster.restart(mode))?;
    }
    Ok(())
}

/// `None` while the server is away.
async fn done(pool: &PgPool) -> Option<i64> {
    sqlx::query_scalar("select count(*) from devart.tasks where status = 'DONE'")
        .fetch_one(pool)
        .await
        .ok()
}

/// Claims and completes as an agent of its own; connects again whenever the connection breaks.
async fn work_until_all_is_done(url: String) {
    let mut agent = None;
    let working = async {
        loop {
            if let Ok(mut connection) = PgConnection::connect(&url).await
                && let Ok(true) = work(&mut connection, &mut agent).await
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    ends_within(PATIENCE, "all tasks are done", working).await;
}

/// Works until there is nothing to claim; whether all tasks are done then. Fails when the connection
/// breaks. Leases that were lost with an answer are let expire at once.
async fn work(connection: &mut PgConnection, agent: &mut Option<Uuid>) -> sqlx::Result<bool> {
    let agent = match agent {
        Some(agent) => *agent,
        None => *agent.insert(register(connection).await?),
    };
    sqlx::query("update devart.tasks set lease_expires_at = now() - interval '1 s' where agent_id = $1 and status = 'IN_PROGRESS'")
        .bind(agent)
        .execute(&mut *connection)
        .await?;
    while let Some(task) = claim(&mut *connection, agent).await? {
        complete(&mut *connection, &task).await?;
    }
    sqlx::query("select devart_private.maintain()")
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("select not exists (select from devart.tasks where status <> 'DONE')")
        .fetch_one(&mut *connection)
        .await
}

async fn register(connection: &mut PgConnection) -> sqlx::Result<Uuid> {
    sqlx::query_scalar(
        "select (devart.register_agent('worker ' || gen_random_uuid()) ->> 'id')::uuid",
    )
    .fetch_one(connection)
    .await
}
