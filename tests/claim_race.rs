//! Many workers, one queue: each task is handed out once, and none is forgotten.

use std::collections::HashMap;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::json;
use sqlx::Connection;
use uuid::Uuid;

use crate::support::queue::{claim, claim_batch, complete, create, create_many, status};
use crate::support::{Agent, Database};

const CLAIMERS: usize = 32;
const TASKS: i32 = 5_000;

/// Claims and completes until the queue is empty; gives what it took.
async fn work_until_empty(db: &Database, agent: &Agent) -> Result<Vec<Uuid>> {
    let mut session = db.session().await?;
    let mut taken = Vec::new();
    while let Some(task) = claim(&mut session, agent.id).await? {
        assert_eq!(complete(&mut session, &task).await?, "DONE");
        taken.push(task.task_id);
        assert!(taken.len() <= TASKS as usize, "more than there is");
    }
    Ok(taken)
}

/// How many tasks have exactly `count` events with this status.
async fn tasks_with_events(db: &Database, to_status: &str, count: i64) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select count(*) from (
            select e.task_id from devart.task_events e where e.to_status = $1::devart.task_status
            group by e.task_id having count(*) = $2) x",
    )
    .bind(to_status)
    .bind(count)
    .fetch_one(&db.owner)
    .await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_claimers_take_each_of_five_thousand_tasks_exactly_once() -> Result<()> {
    let db = Database::create().await?;
    let agents = try_join_all((0..CLAIMERS).map(|_| db.agent(&[]))).await?;
    create_many(&db.owner, TASKS).await?;

    let taken = try_join_all(agents.iter().map(|agent| work_until_empty(&db, agent))).await?;

    let mut times: HashMap<Uuid, usize> = HashMap::new();
    for task_id in taken.into_iter().flatten() {
        *times.entry(task_id).or_default() += 1;
    }
    assert_eq!(times.len(), TASKS as usize, "every task was taken");
    assert!(
        times.values().all(|count| *count == 1),
        "no task was taken twice"
    );
    for status in ["IN_PROGRESS", "DONE"] {
        assert_eq!(
            tasks_with_events(&db, status, 1).await?,
            i64::from(TASKS),
            "{status}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_claimers_take_each_task_exactly_once() -> Result<()> {
    let db = Database::create().await?;
    let agents = try_join_all((0..8).map(|_| db.agent(&[]))).await?;
    create_many(&db.owner, 1_000).await?;

    let take_all = async |agent: &Agent| -> Result<usize> {
        let mut session = db.session().await?;
        let mut taken = 0;
        loop {
            let batch = claim_batch(&mut session, agent.id, 30).await?;
            if batch.is_empty() {
                return Ok(taken);
            }
            taken += batch.len();
            assert!(taken <= 1_000, "more than there is");
        }
    };
    let taken = try_join_all(agents.iter().map(take_all)).await?;

    assert_eq!(taken.iter().sum::<usize>(), 1_000);
    assert_eq!(tasks_with_events(&db, "IN_PROGRESS", 1).await?, 1_000);
    Ok(())
}

#[tokio::test]
async fn a_claim_that_was_rolled_back_is_handed_out_again() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task_id = create(&db.owner, json!({"title": "once"})).await?;
    let mut session = db.session().await?;

    let mut transaction = session.begin().await?;
    let first = claim(&mut *transaction, agent.id).await?.expect("the task");
    assert!(claim(&db.owner, agent.id).await?.is_none(), "it is locked");
    transaction.rollback().await?;

    let again = claim(&mut session, agent.id)
        .await?
        .expect("the task again");
    assert_eq!((again.task_id, again.attempt), (task_id, 1));
    assert_ne!(again.lease_token, first.lease_token);
    Ok(())
}

#[tokio::test]
async fn claims_rolled_back_to_a_savepoint_are_handed_out_again_in_their_order() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut session = db.session().await?;
    // The first look of a session is a full one, after which it uses its cursors for a while.
    assert!(claim(&mut session, agent.id).await?.is_none());
    create_many(&db.owner, 3).await?;

    let mut transaction = session.begin().await?;
    let mut savepoint = transaction.begin().await?;
    let first = claim(&mut *savepoint, agent.id).await?.expect("a task");
    let second = claim(&mut *savepoint, agent.id).await?.expect("a task");
    savepoint.rollback().await?;
    transaction.commit().await?;

    for expected in [first, second] {
        let again = claim(&mut session, agent.id).await?.expect("a task");
        assert_eq!(again.task_id, expected.task_id);
    }
    Ok(())
}

#[tokio::test]
async fn a_task_committed_late_behind_another_sessions_cursor_is_found() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (mut late, mut worker) = (db.session().await?, db.session().await?);

    let mut transaction = late.begin().await?;
    let early_but_late = create(&mut *transaction, json!({"title": "committed late"})).await?;
    create_many(&db.owner, 20).await?;
    for _ in 0..10 {
        assert_ne!(
            claim(&mut worker, agent.id).await?.expect("a task").task_id,
            early_but_late
        );
    }
    transaction.commit().await?;

    for _ in 0..12 {
        claim(&mut worker, agent.id).await?;
    }
    assert_eq!(status(&db.owner, early_but_late).await?, "IN_PROGRESS");
    Ok(())
}

#[tokio::test]
async fn a_worker_behind_a_locked_task_takes_the_next_one() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 2).await?;
    let (mut first, mut second) = (db.session().await?, db.session().await?);

    let mut transaction = first.begin().await?;
    let held = claim(&mut *transaction, agent.id).await?.expect("a task");
    let other = claim(&mut second, agent.id).await?.expect("the other task");

    assert_ne!(held.task_id, other.task_id);
    transaction.commit().await?;
    Ok(())
}
