//! A stop against many clients: after its commit nothing begins, and nothing is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use anyhow::Result;
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::budget::{audit, reserve_with, service, settle};
use crate::support::queue::{Claim, claim, complete, create_many};
use crate::support::wait::eventually;
use crate::support::{Agent, Database};

const CLIENTS: usize = 32;
const TASKS: i32 = 3_000;
const STOPS: usize = 5;

/// What the clients share.
struct Race {
    db: Database,
    service_id: Uuid,
    agents: Vec<Agent>,
    /// How often each client has tried to begin something.
    rounds: Vec<AtomicU64>,
    is_over: AtomicBool,
}

impl Race {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let agents = try_join_all((0..CLIENTS).map(|_| db.agent(&[]))).await?;
        let service_id = service(&db.owner, "model", "1000000").await?;
        create_many(&db.owner, TASKS).await?;
        Ok(Self {
            db,
            service_id,
            agents,
            rounds: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
            is_over: AtomicBool::new(false),
        })
    }

    async fn client(&self, number: usize) -> Result<()> {
        let agent = &self.agents[number];
        let mut session = self.db.session_as(agent.caller()).await?;
        while !self.is_over.load(SeqCst) {
            if let Some(task) = once_more(claim(&mut session, agent.id).await)?.flatten() {
                self.work(&mut session, &task).await?;
            }
            self.rounds[number].fetch_add(1, SeqCst);
        }
        Ok(())
    }

    /// Spends if it may, and ends its task in any case.
    async fn work(&self, session: &mut PgConnection, task: &Claim) -> Result<()> {
        let arguments = json!({"estimate_usd": 1, "task_id": task.task_id});
        let answer = reserve_with(&mut *session, self.service_id, arguments).await;
        let answer = once_more(answer)?.unwrap_or(Value::Null);
        if let Some(hold_id) = answer["hold_id"].as_str() {
            settle(&mut *session, hold_id.parse()?, "0.5").await?;
        }
        assert_eq!(complete(session, task).await?, "DONE");
        Ok(())
    }

    /// All that has ever begun.
    async fn begun(&self) -> Result<(i64, i64)> {
        let counts = sqlx::query_as(
            "select (select sum(attempt) from devart.tasks), (select count(*) from devart.holds)",
        );
        Ok(counts.fetch_one(&self.db.owner).await?)
    }

    async fn stop_again_and_again(&self) -> Result<()> {
        for _ in 0..STOPS {
            let before = self.begun().await?.0;
            eventually("work goes on", async || {
                let begun = self.begun().await.ok()?.0;
                (begun > before || begun == i64::from(TASKS)).then_some(())
            })
            .await;
            sqlx::query("select devart.emergency_stop('race')")
                .execute(&self.db.owner)
                .await?;
            let at_the_stop = self.begun().await?;
            self.wait_for_rounds(5).await;
            assert_eq!(
                self.begun().await?,
                at_the_stop,
                "something began after the stop"
            );
            sqlx::query("select devart.resume_work()")
                .execute(&self.db.owner)
                .await?;
        }
        eventually("all is done", async || {
            let open: i64 =
                sqlx::query_scalar("select count(*) from devart.tasks where status <> 'DONE'")
                    .fetch_one(&self.db.owner)
                    .await
                    .ok()?;
            (open == 0).then_some(())
        })
        .await;
        self.is_over.store(true, SeqCst);
        Ok(())
    }

    /// Until each client has tried so many times more.
    async fn wait_for_rounds(&self, more: u64) {
        let now = |count: &AtomicU64| count.load(SeqCst);
        let before: Vec<u64> = self.rounds.iter().map(now).collect();
        eventually("every client has tried", async || {
            let rounds = self.rounds.iter().map(now);
            let all = rounds
                .zip(&before)
                .all(|(now, before)| now >= before + more);
            all.then_some(())
        })
        .await;
    }
}

/// `None` for what a stop took back at its commit: it is as if it had never been asked for.
fn once_more<T>(outcome: sqlx::Result<T>) -> sqlx::Result<Option<T>> {
    match outcome {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40001") => Ok(None),
        outcome => outcome.map(Some),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_commit_of_a_stop_nothing_begins_and_after_its_end_nothing_is_lost() -> Result<()>
{
    let race = Race::create().await?;
    let clients = try_join_all((0..CLIENTS).map(|number| race.client(number)));
    try_join(clients, race.stop_again_and_again()).await?;
    assert_eq!(
        race.begun().await?.0,
        i64::from(TASKS),
        "each task was taken once"
    );
    audit(&race.db.owner).await;
    Ok(())
}
