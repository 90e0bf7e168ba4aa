//! A dependency that ends while its dependent is being made, and one that ends badly.

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::support::queue::{Claim, complete, create, fail, start, status};
use crate::support::wait::eventually;
use crate::support::{Agent, Database, refusal, sqlstate};

async fn take(db: &Database, agent: &Agent, task_id: Uuid) -> Result<Claim> {
    let claim = start(&db.owner, task_id, agent.id).await?;
    claim.context("the task can be started")
}

async fn pid(session: &mut PgConnection) -> Result<i32> {
    Ok(sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(session)
        .await?)
}

/// Waits until the session with this process id waits for a lock.
async fn waits_for_a_lock(db: &Database, pid: i32) {
    eventually("the second session waits for the first", async || {
        sqlx::query("select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'")
            .bind(pid)
            .fetch_optional(&db.owner)
            .await
            .ok()?
    })
    .await;
}

#[tokio::test]
async fn a_task_made_while_its_dependency_is_being_completed_is_not_stuck() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let held = take(&db, &agent, first).await?;
    let (mut worker, mut creator) = (db.session().await?, db.session().await?);
    let creator_pid = pid(&mut creator).await?;

    let mut completing = worker.begin().await?;
    complete(&mut *completing, &held).await?;
    let arguments = json!({"title": "late", "depends_on": [first]});
    let creating = tokio::spawn(async move { create(&mut creator, arguments).await });
    waits_for_a_lock(&db, creator_pid).await;
    completing.commit().await?;

    assert_eq!(status(&db.owner, creating.await??).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_dependency_completed_while_its_dependent_is_being_made_lets_it_go() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let held = take(&db, &agent, first).await?;
    let (mut creator, mut worker) = (db.session().await?, db.session().await?);
    let worker_pid = pid(&mut worker).await?;

    let mut creating = creator.begin().await?;
    let late = create(
        &mut *creating,
        json!({"title": "late", "depends_on": [first]}),
    )
    .await?;
    let completing = tokio::spawn(async move { complete(&mut worker, &held).await });
    waits_for_a_lock(&db, worker_pid).await;
    creating.commit().await?;

    assert_eq!(completing.await??, "DONE");
    assert_eq!(status(&db.owner, late).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_failed_task_waits_on_for_its_retry() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let next = create(&db.owner, json!({"title": "next", "depends_on": [first]})).await?;
    fail(&db.owner, &take(&db, &agent, first).await?, false).await?;
    assert_eq!(status(&db.owner, next).await?, "BLOCKED");

    sqlx::query("select devart.retry_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    complete(&db.owner, &take(&db, &agent, first).await?).await?;
    assert_eq!(status(&db.owner, next).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_deleted_task_is_cancelled_and_a_cancelled_one_not_waited_for()
-> Result<()> {
    let db = Database::create().await?;
    for delete in [
        "select devart.delete_task($1)",
        "delete from devart.tasks where id = $1",
    ] {
        let first = create(&db.owner, json!({"title": "first"})).await?;
        let next = create(&db.owner, json!({"title": "next", "depends_on": [first]})).await?;
        let last = create(&db.owner, json!({"title": "last", "depends_on": [next]})).await?;
        sqlx::query(delete).bind(first).execute(&db.owner).await?;
        assert_eq!(status(&db.owner, next).await?, "CANCELLED", "{delete}");
        assert_eq!(status(&db.owner, last).await?, "CANCELLED", "{delete}");
    }

    let first = create(&db.owner, json!({"title": "first"})).await?;
    sqlx::query("select devart.cancel_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    let hopeless = create(
        &db.owner,
        json!({"title": "hopeless", "depends_on": [first]}),
    )
    .await;
    assert_eq!(sqlstate(&hopeless), "22023");
    Ok(())
}

#[tokio::test]
async fn what_depended_on_a_done_task_outlives_it() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let second = create(&db.owner, json!({"title": "second"})).await?;
    let next = create(
        &db.owner,
        json!({"title": "next", "depends_on": [first, second]}),
    )
    .await?;
    complete(&db.owner, &take(&db, &agent, first).await?).await?;
    sqlx::query("select devart.delete_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    assert_eq!(status(&db.owner, next).await?, "BLOCKED");
    complete(&db.owner, &take(&db, &agent, second).await?).await?;
    assert_eq!(status(&db.owner, next).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_task_whose_dependency_is_cancelled_is_retried_only_after_it() -> Result<()> {
    let db = Database::create().await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let next = create(&db.owner, json!({"title": "next", "depends_on": [first]})).await?;
    sqlx::query("select devart.cancel_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    let retry = "select (devart.retry_task($1)).status::text";
    let early = sqlx::query(retry).bind(next).execute(&db.owner).await;
    assert_eq!(sqlstate(&early), "55000");
    for (id, then) in [(first, "TODO"), (next, "BLOCKED")] {
        let status: String = sqlx::query_scalar(retry)
            .bind(id)
            .fetch_one(&db.owner)
            .await?;
        assert_eq!(status, then);
    }
    Ok(())
}

#[tokio::test]
async fn a_task_given_back_by_its_worker_does_not_wait_for_what_was_cancelled() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let held = take(&db, &agent, task_id).await?;
    let other = create(&db.owner, json!({"title": "other"})).await?;
    sqlx::query("insert into devart.task_dependencies (task_id, depends_on) values ($1, $2)")
        .bind(task_id)
        .bind(other)
        .execute(&db.owner)
        .await?;
    sqlx::query("select devart.cancel_task($1)")
        .bind(other)
        .execute(&db.owner)
        .await?;
    fail(&db.owner, &held, true).await?;
    assert_eq!(status(&db.owner, task_id).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn a_chain_of_ten_thousand_is_made_and_cancelled() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql(
        "do $$
         declare
             v_last uuid;
         begin
             for i in 1..10000 loop
                 v_last := (devart.create_task(
                     'link', depends_on => array_remove(array[v_last], null))).id;
             end loop;
         end $$;
         select devart.cancel_task((select id from devart.tasks order by id limit 1));",
    )
    .execute(&db.owner)
    .await?;
    let cancelled: i64 =
        sqlx::query_scalar("select count(*) from devart.tasks where status = 'CANCELLED'")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(cancelled, 10_000);
    Ok(())
}

#[tokio::test]
async fn an_agent_depends_only_on_what_it_may_see_and_learns_nothing_of_the_rest() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let parent = create(&db.owner, json!({"title": "parent"})).await?;
    take(&db, &agent, parent).await?;
    let ids = [
        create(
            &db.owner,
            json!({"title": "waiting", "run_at": "2999-01-01T00:00:00Z"}),
        )
        .await?,
        create(&db.owner, json!({"title": "cancelled"})).await?,
        create(&db.owner, json!({"title": "others"})).await?,
        Uuid::now_v7(),
    ];
    sqlx::query("select devart.cancel_task($1)")
        .bind(ids[1])
        .execute(&db.owner)
        .await?;
    take(&db, &other, ids[2]).await?;
    let mut session = db.session_as(agent.caller()).await?;
    for id in ids {
        let made = create(
            &mut session,
            json!({"title": "child", "parent_task_id": parent, "depends_on": [id]}),
        )
        .await;
        assert_eq!(sqlstate(&made), "23503");
        let added = sqlx::query(
            "insert into devart.task_dependencies (task_id, depends_on) values ($1, $2)",
        )
        .bind(parent)
        .bind(id)
        .execute(&mut session)
        .await;
        assert_eq!(sqlstate(&added), "23503");
    }
    let child = create(
        &mut session,
        json!({"title": "child", "parent_task_id": parent}),
    )
    .await?;
    create(
        &mut session,
        json!({"title": "next", "parent_task_id": parent, "depends_on": [child]}),
    )
    .await?;
    Ok(())
}

/// Completes these in one call.
async fn complete_all(session: &mut PgConnection, claims: &[&Claim]) -> sqlx::Result<Vec<String>> {
    let task_ids: Vec<Uuid> = claims.iter().map(|claim| claim.task_id).collect();
    let lease_tokens: Vec<Uuid> = claims.iter().map(|claim| claim.lease_token).collect();
    sqlx::query_scalar("select outcome from devart.complete_tasks($1, $2)")
        .bind(task_ids)
        .bind(lease_tokens)
        .fetch_all(session)
        .await
}

#[tokio::test]
async fn batches_that_let_the_same_tasks_go_in_another_order_do_not_wait_for_each_other()
-> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut ids = Vec::new();
    for title in ["a", "x", "b", "c", "e"] {
        ids.push(create(&db.owner, json!({"title": title})).await?);
    }
    let mut held = Vec::new();
    for id in &ids {
        held.push(take(&db, &agent, *id).await?);
    }
    let mut dependents = Vec::new();
    // The one batch would meet the second, the third and the first of these, the other one the
    // first and the second.
    for depends_on in [[ids[2], ids[3]], [ids[0], ids[4]], [ids[1], ids[1]]] {
        let arguments = json!({"title": "next", "depends_on": depends_on});
        dependents.push(create(&db.owner, arguments).await?);
    }
    let (mut one, mut other) = (db.session().await?, db.session().await?);
    let pids = (pid(&mut one).await?, pid(&mut other).await?);
    let mut blocker = db.session().await?;
    let mut blocking = blocker.begin().await?;
    sqlx::query("select from devart.tasks where id = $1 for update")
        .bind(dependents[2])
        .execute(&mut *blocking)
        .await?;

    let [a, x, b, c, e]: [Claim; 5] = held.try_into().ok().context("five")?;
    let first = tokio::spawn(async move { complete_all(&mut one, &[&a, &x, &b]).await });
    waits_for_a_lock(&db, pids.0).await;
    let second = tokio::spawn(async move { complete_all(&mut other, &[&c, &e]).await });
    waits_for_a_lock(&db, pids.1).await;
    blocking.commit().await?;

    assert_eq!(first.await??, ["DONE"; 3]);
    assert_eq!(second.await??, ["DONE"; 2]);
    for dependent in dependents {
        assert_eq!(status(&db.owner, dependent).await?, "TODO");
    }
    Ok(())
}

#[tokio::test]
async fn a_deactivated_agent_learns_no_state_of_what_it_would_depend_on() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let own = create(&db.owner, json!({"title": "own"})).await?;
    take(&db, &agent, own).await?;
    let waiting = create(&db.owner, json!({"title": "waiting"})).await?;
    let cancelled = create(&db.owner, json!({"title": "cancelled"})).await?;
    sqlx::query("select devart.cancel_task($1), devart.set_agent_activation($2, false)")
        .bind(cancelled)
        .bind(agent.id)
        .execute(&db.owner)
        .await?;
    let mut session = db.session_as(agent.caller()).await?;
    let mut answers = Vec::new();
    for id in [waiting, cancelled, own, Uuid::now_v7()] {
        let added = sqlx::query(
            "insert into devart.task_dependencies (task_id, depends_on) values ($1, $2)",
        )
        .bind(own)
        .bind(id)
        .execute(&mut session)
        .await;
        answers.push((sqlstate(&added), refusal(added)));
    }
    assert_eq!(answers[0].0, "42501");
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    Ok(())
}
