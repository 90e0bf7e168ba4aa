//! What makes the database invite to a task.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{TOPIC, database, invite, messages, summaries};
use crate::support::Database;
use crate::support::queue::{
    claim, complete, create, create_many, expire_lease, fail, make_due, start, status,
};

#[tokio::test]
async fn while_nobody_delivers_messages_none_are_written() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 1})).await?;
    for retryable in [true, false] {
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        fail(&db.owner, &claimed, retryable).await?;
        make_due(&db.owner, id).await?;
    }
    assert_eq!(messages(&db).await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn every_way_in_which_a_task_becomes_todo_invites_to_it() -> Result<()> {
    let db = database().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 0})).await?;
    assert_eq!(summaries(&db).await?, invite(id, 1), "created");

    claim(&db.owner, agent.id).await?.context("the task")?;
    assert_eq!(summaries(&db).await?, [], "a claim says nothing");
    expire_lease(&db.owner, id).await?;
    db.maintain().await?;
    assert_eq!(summaries(&db).await?, invite(id, 2), "rescued");

    claim(&db.owner, agent.id).await?.context("the task")?;
    sqlx::raw_sql("select devart.set_agent_activation(id, false), devart.set_agent_activation(id, true) from devart.agents")
        .execute(&db.owner)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 3), "released");

    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    fail(&db.owner, &claimed, true).await?;
    assert_eq!(summaries(&db).await?, [("dead".to_owned(), id, 3)]);
    sqlx::query("select devart.retry_task($1)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 4), "retried by hand");

    let waiting = create(&db.owner, json!({"title": "w", "depends_on": [id]})).await?;
    let later = create(
        &db.owner,
        json!({"title": "l", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    let asking = create(&db.owner, json!({"title": "a", "needs_approval": true})).await?;
    assert_eq!(summaries(&db).await?, [], "not to be had yet");
    let claimed = start(&db.owner, id, agent.id).await?.context("the task")?;
    complete(&db.owner, &claimed).await?;
    assert_eq!(summaries(&db).await?, invite(waiting, 1), "unblocked");
    make_due(&db.owner, later).await?;
    db.maintain().await?;
    assert_eq!(summaries(&db).await?, invite(later, 1), "promoted");
    sqlx::query(
        "select devart.decide_approval(id, 'approve') from devart.approvals where subject_id = $1",
    )
    .bind(asking)
    .execute(&db.owner)
    .await?;
    assert_eq!(summaries(&db).await?, invite(asking, 1), "approved");
    Ok(())
}

#[tokio::test]
async fn an_edit_that_moves_a_waiting_task_invites_to_it_again() -> Result<()> {
    let db = database().await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    messages(&db).await?;
    for (changes, moves) in [
        (json!({"title": "u"}), false),
        (json!({"priority": "MEDIUM"}), false),
        (json!({"priority": "CRITICAL"}), true),
        (json!({"required_capabilities": ["a"]}), true),
    ] {
        sqlx::query("select devart.update_task($1, $2)")
            .bind(id)
            .bind(&changes)
            .execute(&db.owner)
            .await?;
        let expected = if moves { invite(id, 1) } else { Vec::new() };
        assert_eq!(summaries(&db).await?, expected, "{changes}");
    }
    Ok(())
}

#[tokio::test]
async fn a_supervisors_plain_statements_invite_as_functions_do() -> Result<()> {
    let db = database().await?;
    let mut supervisor = db.session_as(db.person("supervisor").await?).await?;
    let id: Uuid = sqlx::query_scalar("insert into devart.tasks (title) values ('t') returning id")
        .fetch_one(&mut supervisor)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 1));
    sqlx::query("update devart.tasks set priority = 'LOW'")
        .execute(&mut supervisor)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 1));
    Ok(())
}

#[tokio::test]
async fn a_bulk_insert_invites_to_each_of_its_tasks_in_order() -> Result<()> {
    let db = database().await?;
    create_many(&db.owner, 1_000).await?;
    let titles: Vec<Value> = messages(&db)
        .await?
        .iter()
        .map(|it| it["title"].clone())
        .collect();
    let expected: Vec<Value> = (1..=1_000).map(|n| json!(format!("task {n}"))).collect();
    assert_eq!(titles, expected);
    Ok(())
}

#[tokio::test]
async fn waiting_tasks_are_invited_again_in_the_order_of_claims() -> Result<()> {
    let db = Database::create().await?;
    let low = create(&db.owner, json!({"title": "low", "priority": "LOW"})).await?;
    let critical = create(
        &db.owner,
        json!({"title": "critical", "priority": "CRITICAL"}),
    )
    .await?;
    let other = create(
        &db.owner,
        json!({"title": "other", "required_capabilities": ["a"]}),
    )
    .await?;
    let agent = db.agent(&[]).await?;
    let taken = create(&db.owner, json!({"title": "taken"})).await?;
    start(&db.owner, taken, agent.id)
        .await?
        .context("the task")?;
    let mut bridge = PgConnection::connect(&db.bridge_url("rabbitmq")).await?;
    let mut invite = async |routing_key: Option<&str>| {
        sqlx::query_scalar::<_, i64>("select devart_private.invite_waiting_tasks($1)")
            .bind(routing_key)
            .fetch_one(&mut bridge)
            .await
    };
    assert_eq!(invite(None).await?, 0, "nobody delivers messages");
    db.set("outbox_topics", json!([TOPIC])).await?;
    assert_eq!(invite(Some("todo")).await?, 2);
    let invited: Vec<Uuid> = summaries(&db).await?.into_iter().map(|it| it.1).collect();
    assert_eq!(invited, [critical, low]);
    assert_eq!(invite(None).await?, 3);
    assert!(summaries(&db).await?.iter().any(|it| it.1 == other));
    Ok(())
}

#[tokio::test]
async fn a_scheduled_task_can_be_started_as_soon_as_it_is_due() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(
        &db.owner,
        json!({"title": "t", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    assert!(start(&db.owner, id, agent.id).await?.is_none(), "too early");
    // As if the time had passed: no trigger may notice, since time passes without one.
    sqlx::raw_sql(
        "set session_replication_role = replica; update devart.tasks set run_at = now() - interval '1 s';
         set session_replication_role = default",
    )
    .execute(&mut db.session().await?)
    .await?;
    assert_eq!(status(&db.owner, id).await?, "SCHEDULED");
    assert!(start(&db.owner, id, agent.id).await?.is_some());
    assert_eq!(status(&db.owner, id).await?, "IN_PROGRESS");
    Ok(())
}
