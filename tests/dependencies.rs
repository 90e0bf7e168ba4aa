//! Tasks that wait for others, and tasks that wait for people.

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::support::queue::{claim, claim_batch, complete, create, history, status};
use crate::support::wait::eventually;
use crate::support::{Caller, Database, sqlstate};

#[tokio::test]
async fn a_task_waits_until_everything_it_depends_on_is_done() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "1"})).await?;
    let second = create(&db.owner, json!({"title": "2"})).await?;
    let last = create(
        &db.owner,
        json!({"title": "3", "depends_on": [first, second]}),
    )
    .await?;
    let claimed = claim_batch(&db.owner, agent.id, 10).await?;
    assert_eq!(claimed.len(), 2);
    complete(&db.owner, &claimed[0]).await?;
    assert_eq!(status(&db.owner, last).await?, "BLOCKED");
    complete(&db.owner, &claimed[1]).await?;
    assert_eq!(history(&db.owner, last).await?, ["BLOCKED", "TODO"]);
    let late = create(&db.owner, json!({"title": "4", "depends_on": [first]})).await?;
    assert_eq!(
        status(&db.owner, late).await?,
        "TODO",
        "what it depends on is done already"
    );
    Ok(())
}

#[tokio::test]
async fn two_dependencies_finishing_at_once_let_the_task_go() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let ids = [
        create(&db.owner, json!({"title": "1"})).await?,
        create(&db.owner, json!({"title": "2"})).await?,
    ];
    let last = create(&db.owner, json!({"title": "3", "depends_on": ids})).await?;
    let claimed = claim_batch(&db.owner, agent.id, 2).await?;

    let (mut a, mut b) = (db.session().await?, db.session().await?);
    let (mut a, mut b) = (a.begin().await?, b.begin().await?);
    complete(&mut *a, &claimed[0]).await?;
    let second = async {
        complete(&mut *b, &claimed[1]).await?;
        b.commit().await
    };
    let first = async {
        eventually("the second waits for the first", async || {
            lock_waits(&db.owner).await.ok()
        })
        .await;
        a.commit().await
    };
    let (one, two) = tokio::join!(second, first);
    one.and(two)?;
    assert_eq!(status(&db.owner, last).await?, "TODO");
    Ok(())
}

/// Fails until some session waits for another one's lock.
async fn lock_waits(pool: &PgPool) -> Result<()> {
    let waits: bool = sqlx::query_scalar(
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    )
    .fetch_one(pool)
    .await?;
    waits.then_some(()).context("nobody waits")
}

#[tokio::test]
async fn what_depends_on_a_cancelled_task_is_cancelled_too() -> Result<()> {
    let db = Database::create().await?;
    let first = create(&db.owner, json!({"title": "1"})).await?;
    let second = create(&db.owner, json!({"title": "2", "depends_on": [first]})).await?;
    let third = create(&db.owner, json!({"title": "3", "depends_on": [second]})).await?;
    sqlx::query("select devart.cancel_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    assert_eq!(status(&db.owner, third).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn a_circle_of_dependencies_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let first = create(&db.owner, json!({"title": "1"})).await?;
    let second = create(&db.owner, json!({"title": "2", "depends_on": [first]})).await?;
    let circle =
        sqlx::query("insert into devart.task_dependencies (task_id, depends_on) values ($1, $2)")
            .bind(first)
            .bind(second)
            .execute(&db.owner)
            .await;
    assert_eq!(sqlstate(&circle), "22023");
    let nothing = create(
        &db.owner,
        json!({"title": "3", "depends_on": [Uuid::now_v7()]}),
    )
    .await;
    assert_eq!(sqlstate(&nothing), "23503");
    Ok(())
}

async fn decide(
    db: &Database,
    caller: Caller,
    task_id: Uuid,
    decision: &str,
) -> sqlx::Result<String> {
    let approval: Uuid =
        sqlx::query_scalar("select id from devart.approvals where subject_id = $1")
            .bind(task_id)
            .fetch_one(&db.owner)
            .await?;
    let mut session = db.session_as(caller).await?;
    sqlx::query_scalar("select (devart.decide_approval($1, $2)).status::text")
        .bind(approval)
        .bind(decision)
        .fetch_one(&mut session)
        .await
}

#[tokio::test]
async fn a_task_that_needs_approval_waits_for_somebody_else() -> Result<()> {
    let db = Database::create().await?;
    let (author, other, viewer) = (
        db.person("supervisor").await?,
        db.person("supervisor").await?,
        db.person("viewer").await?,
    );
    let task_id = create(
        &mut db.session_as(author).await?,
        json!({"title": "t", "needs_approval": true}),
    )
    .await?;
    assert_eq!(status(&db.owner, task_id).await?, "AWAITING_APPROVAL");
    assert_eq!(
        sqlstate(&decide(&db, author, task_id, "approve").await),
        "42501",
        "one's own request"
    );
    assert_eq!(
        sqlstate(&decide(&db, viewer, task_id, "approve").await),
        "42501",
        "a viewer"
    );
    assert_eq!(
        sqlstate(&decide(&db, other, task_id, "maybe").await),
        "22023"
    );
    assert_eq!(decide(&db, other, task_id, "approve").await?, "APPROVED");
    assert_eq!(status(&db.owner, task_id).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_quorum_takes_as_many_people_as_it_says_and_one_no_is_enough() -> Result<()> {
    let db = Database::create().await?;
    db.set("approval_quorum", json!(2)).await?;
    let (one, two) = (db.person("supervisor").await?, db.person("admin").await?);
    let task_id = create(&db.owner, json!({"title": "t", "needs_approval": true})).await?;
    assert_eq!(decide(&db, one, task_id, "approve").await?, "PENDING");
    assert_eq!(
        sqlstate(&decide(&db, one, task_id, "approve").await),
        "23505",
        "a second vote"
    );
    assert_eq!(decide(&db, two, task_id, "reject").await?, "REJECTED");
    assert_eq!(status(&db.owner, task_id).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn an_approval_is_void_once_its_task_was_edited() -> Result<()> {
    let db = Database::create().await?;
    let approver = db.person("supervisor").await?;
    let task_id = create(
        &db.owner,
        json!({"title": "delete nothing", "needs_approval": true}),
    )
    .await?;
    sqlx::query("select devart.update_task($1, '{\"title\": \"delete everything\"}')")
        .bind(task_id)
        .execute(&db.owner)
        .await?;
    assert_eq!(
        sqlstate(&decide(&db, approver, task_id, "approve").await),
        "55000"
    );
    assert_eq!(status(&db.owner, task_id).await?, "AWAITING_APPROVAL");
    Ok(())
}

/// Sets the status as an operator does.
async fn set_status(db: &Database, task_id: Uuid, to: &str) -> Result<()> {
    sqlx::query("update devart.tasks set status = $2::text::devart.task_status where id = $1")
        .bind(task_id)
        .bind(to)
        .execute(&db.owner)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_dependency_that_is_done_twice_counts_once() -> Result<()> {
    let db = Database::create().await?;
    let first = create(&db.owner, json!({"title": "1"})).await?;
    let second = create(&db.owner, json!({"title": "2"})).await?;
    let arguments = json!({"title": "3", "depends_on": [first, second]});
    let last = create(&db.owner, arguments).await?;
    for to in ["DONE", "TODO", "DONE", "FAILED", "DONE"] {
        set_status(&db, first, to).await?;
        assert_eq!(status(&db.owner, last).await?, "BLOCKED", "{to}");
    }
    set_status(&db, second, "DONE").await?;
    assert_eq!(status(&db.owner, last).await?, "TODO");
    set_status(&db, first, "TODO").await?;
    assert_eq!(status(&db.owner, last).await?, "BLOCKED", "it waits again");
    set_status(&db, first, "DONE").await?;
    assert_eq!(status(&db.owner, last).await?, "TODO");
    set_status(&db, second, "CANCELLED").await?;
    assert_eq!(status(&db.owner, last).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn an_agent_holds_up_nothing_that_people_made() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let parent = create(
        &db.owner,
        json!({"title": "parent", "priority": "CRITICAL"}),
    )
    .await?;
    let theirs = create(
        &db.owner,
        json!({"title": "theirs", "parent_task_id": parent}),
    )
    .await?;
    claim(&db.owner, agent.id).await?.context("the parent")?;
    let mut session = db.session_as(Caller::Agent(agent.id)).await?;
    let child = async |session: &mut PgConnection, title: &str| {
        create(session, json!({"title": title, "parent_task_id": parent})).await
    };
    let (own, last) = (
        child(&mut session, "own").await?,
        child(&mut session, "last").await?,
    );
    for (task, expected) in [(theirs, "42501"), (last, "ok")] {
        let depends = "insert into devart.task_dependencies (task_id, depends_on) values ($1, $2)";
        let outcome = sqlx::query(depends)
            .bind(task)
            .bind(own)
            .execute(&mut session)
            .await;
        assert_eq!(sqlstate(&outcome), expected, "{task}");
    }
    assert_eq!(status(&db.owner, theirs).await?, "TODO");
    Ok(())
}
