//! Leases and fences: a dead worker loses its task, and can do no harm afterwards.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::queue::{claim, complete, create, expire_lease, fail, history, status, task};
use crate::support::{Agent, Database, sqlstate};

/// A worker in a process of its own: psql, which claims one task and then sits on it.
struct Worker {
    process: Child,
    lease_token: Uuid,
}

impl Worker {
    fn claim_in_a_process(db: &Database, agent: &Agent) -> Result<Self> {
        let mut process = db
            .cluster()
            .program("psql")
            .args(["-XqAt", "-d", &db.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let claim = format!(
            "select lease_token from devart.claim_next_task('{}');\n",
            agent.id
        );
        process
            .stdin
            .as_mut()
            .context("no stdin")?
            .write_all(claim.as_bytes())?;
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().context("no stdout")?).read_line(&mut line)?;
        let lease_token = line.trim().parse().context("psql printed no lease token")?;
        Ok(Self {
            process,
            lease_token,
        })
    }

    fn kill(mut self) -> Result<Uuid> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(self.lease_token)
    }
}

async fn rescued(db: &Database) -> Result<Value> {
    Ok(db.maintain().await?["rescued"].clone())
}

#[tokio::test]
async fn a_killed_workers_task_is_rescued_and_its_zombie_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let token = Worker::claim_in_a_process(&db, &agent)?.kill()?;

    assert_eq!(rescued(&db).await?, 0, "the lease still holds");
    expire_lease(&db.owner, task_id).await?;
    assert_eq!(rescued(&db).await?, 1);

    let second = claim(&db.owner, other.id)
        .await?
        .context("the rescued task")?;
    assert_eq!((second.task_id, second.attempt), (task_id, 2));
    for statement in [
        "select status from devart.complete_task($1, $2)",
        "select status from devart.report_task_failure($1, $2, 'late')",
        "select status from devart.extend_lease($1, $2)",
    ] {
        let late = sqlx::query(statement)
            .bind(task_id)
            .bind(token)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&late), "55P03", "{statement}");
    }
    assert_eq!(complete(&db.owner, &second).await?, "DONE");
    assert_eq!(
        history(&db.owner, task_id).await?,
        ["TODO", "IN_PROGRESS", "TODO", "IN_PROGRESS", "DONE"]
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_may_finish_after_expiry_while_nobody_took_the_task_away() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let held = claim(&db.owner, agent.id).await?.context("a task")?;
    expire_lease(&db.owner, task_id).await?;
    assert_eq!(complete(&db.owner, &held).await?, "DONE");
    assert_eq!(rescued(&db).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_completion_may_be_repeated_but_not_changed() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let held = claim(&db.owner, agent.id).await?.context("a task")?;
    complete(&db.owner, &held).await?;

    let again: String =
        sqlx::query_scalar("select status from devart.complete_task($1, $2, '{\"done\": false}')")
            .bind(task_id)
            .bind(held.lease_token)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(again, "DONE");
    assert_eq!(
        task(&db.owner, task_id).await?.result,
        Some(json!({"done": true}))
    );
    assert_eq!(sqlstate(&fail(&db.owner, &held, true).await), "55P03");
    assert_eq!(
        history(&db.owner, task_id).await?,
        ["TODO", "IN_PROGRESS", "DONE"]
    );
    Ok(())
}

#[tokio::test]
async fn a_batch_completion_tells_which_leases_were_lost() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut held = Vec::new();
    for title in ["kept", "lost"] {
        create(&db.owner, json!({"title": title})).await?;
        held.push(claim(&db.owner, agent.id).await?.context("a task")?);
    }
    expire_lease(&db.owner, held[1].task_id).await?;
    db.maintain().await?;

    let ids: Vec<Uuid> = held.iter().map(|task| task.task_id).collect();
    let tokens: Vec<Uuid> = held.iter().map(|task| task.lease_token).collect();
    let mut outcomes: Vec<(Uuid, String)> =
        sqlx::query_as("select task_id, outcome from devart.complete_tasks($1, $2)")
            .bind(&ids)
            .bind(&tokens)
            .fetch_all(&db.owner)
            .await?;
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            (ids[0], "DONE".to_owned()),
            (ids[1], "LEASE_LOST".to_owned())
        ]
    );
    assert_eq!(status(&db.owner, ids[1]).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_task_that_keeps_losing_its_workers_fails() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    db.set("max_rescues", json!(2)).await?;
    let task_id = create(&db.owner, json!({"title": "poison"})).await?;
    for expected in ["TODO", "TODO", "FAILED"] {
        claim(&db.owner, agent.id).await?.context("the task")?;
        expire_lease(&db.owner, task_id).await?;
        db.maintain().await?;
        assert_eq!(status(&db.owner, task_id).await?, expected);
    }
    let failed = task(&db.owner, task_id).await?;
    assert!(failed.finished_at.is_some());
    assert_eq!(
        failed.last_error.as_deref(),
        Some("lease of attempt 3 expired")
    );
    Ok(())
}

#[tokio::test]
async fn a_heartbeat_extends_all_leases_or_only_those_it_lists() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "mine"})).await?;
    create(&db.owner, json!({"title": "of my crashed predecessor"})).await?;
    let mine = claim(&db.owner, agent.id).await?.context("a task")?;
    let theirs = claim(&db.owner, agent.id).await?.context("a task")?;
    for held in [&mine, &theirs] {
        expire_lease(&db.owner, held.task_id).await?;
    }

    let beat = heartbeat(&db, agent.id, json!({"lease_tokens": [mine.lease_token]})).await?;
    assert_eq!(
        (&beat["leases_extended"], &beat["active_task_count"]),
        (&json!(1), &json!(2))
    );
    db.maintain().await?;
    assert_eq!(status(&db.owner, mine.task_id).await?, "IN_PROGRESS");
    assert_eq!(status(&db.owner, theirs.task_id).await?, "TODO");

    expire_lease(&db.owner, mine.task_id).await?;
    let beat = heartbeat(&db, agent.id, json!({"load": 1})).await?;
    assert_eq!(beat["leases_extended"], 1);
    assert_eq!(rescued(&db).await?, 0);
    Ok(())
}

async fn heartbeat(db: &Database, agent_id: Uuid, detail: Value) -> Result<Value> {
    Ok(sqlx::query_scalar("select devart.agent_heartbeat($1, $2)")
        .bind(agent_id)
        .bind(detail)
        .fetch_one(&db.owner)
        .await?)
}

#[tokio::test]
async fn a_heartbeat_tells_a_deactivated_agent_to_stop() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    claim(&db.owner, agent.id).await?.context("a task")?;
    assert_eq!(heartbeat(&db, agent.id, json!({})).await?["stop"], false);

    sqlx::query("select devart.set_agent_activation($1, false)")
        .bind(agent.id)
        .execute(&db.owner)
        .await?;
    assert_eq!(
        status(&db.owner, task_id).await?,
        "TODO",
        "its tasks go back"
    );
    let beat = heartbeat(&db, agent.id, json!({})).await?;
    assert_eq!(
        (&beat["stop"], &beat["leases_extended"]),
        (&json!(true), &json!(0))
    );
    Ok(())
}

#[tokio::test]
async fn a_silent_agent_goes_offline() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    heartbeat(&db, agent.id, json!({})).await?;
    sqlx::query("update devart.agents set last_heartbeat_at = now() - interval '1 hour'")
        .execute(&db.owner)
        .await?;
    db.maintain().await?;
    let state: String = sqlx::query_scalar("select status::text from devart.agents where id = $1")
        .bind(agent.id)
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(state, "OFFLINE");
    Ok(())
}

#[tokio::test]
async fn a_lease_can_be_extended_by_its_holder() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let held = claim(&db.owner, agent.id).await?.context("a task")?;
    let extend = async |token: Uuid, seconds: i32| {
        sqlx::query("select * from devart.extend_lease($1, $2, $3)")
            .bind(held.task_id)
            .bind(token)
            .bind(seconds)
            .execute(&db.owner)
            .await
    };

    extend(held.lease_token, 3600).await?;
    let until = task(&db.owner, held.task_id)
        .await?
        .lease_expires_at
        .context("a lease")?;
    assert!(until > held.lease_expires_at + time::Duration::minutes(50));
    assert_eq!(sqlstate(&extend(Uuid::now_v7(), 60).await), "55P03");
    assert_eq!(sqlstate(&extend(held.lease_token, 0).await), "22023");
    Ok(())
}
