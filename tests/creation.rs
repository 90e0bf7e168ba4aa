//! Making and editing tasks.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::queue::{claim, create, history, make_due, status};
use crate::support::{Database, refusal, sqlstate};

async fn edit(db: &Database, task_id: Uuid, changes: Value) -> sqlx::Result<()> {
    sqlx::query("select devart.update_task($1, $2)")
        .bind(task_id)
        .bind(changes)
        .execute(&db.owner)
        .await
        .map(drop)
}

#[tokio::test]
async fn callers_do_not_share_idempotency_keys() -> Result<()> {
    let db = Database::create().await?;
    let arguments = json!({"title": "mine", "idempotency_key": "k"});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut session = db.session_as(db.person("supervisor").await?).await?;
        let first = create(&mut session, arguments.clone()).await?;
        assert_eq!(create(&mut session, arguments.clone()).await?, first);
        ids.push(first);
    }
    assert_ne!(ids[0], ids[1]);
    Ok(())
}

#[tokio::test]
async fn rows_inserted_directly_get_status_and_history_like_created_ones() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "insert into devart.tasks (title, run_at)
         values ('now', null), ('later', now() + interval '1 day') returning id",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(history(&db.owner, ids[0]).await?, ["TODO"]);
    assert_eq!(history(&db.owner, ids[1]).await?, ["SCHEDULED"]);
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    assert_eq!(claimed.task_id, ids[0]);
    Ok(())
}

#[tokio::test]
async fn an_edit_moves_a_task_to_where_it_then_belongs() -> Result<()> {
    let db = Database::create().await?;
    let (plain, able) = (db.agent(&[]).await?, db.agent(&["rust"]).await?);
    let task_id = create(&db.owner, json!({"title": "t"})).await?;

    edit(&db, task_id, json!({"run_at": "2999-01-01T00:00:00Z"})).await?;
    assert_eq!(status(&db.owner, task_id).await?, "SCHEDULED");
    edit(
        &db,
        task_id,
        json!({"run_at": null, "required_capabilities": ["rust"]}),
    )
    .await?;
    assert_eq!(status(&db.owner, task_id).await?, "TODO");

    assert!(claim(&db.owner, plain.id).await?.is_none());
    assert!(claim(&db.owner, able.id).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn an_edit_may_only_touch_known_fields_with_good_values() -> Result<()> {
    let db = Database::create().await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    let status_edit = edit(&db, task_id, json!({"status": "DONE"})).await;
    assert!(refusal(status_edit).starts_with("status"));
    for (changes, code) in [
        (json!({"priority": "URGENT"}), "22P02"),
        (json!({"title": ""}), "23514"),
        (json!({"payload": {"x": "y".repeat(262_144)}}), "22023"),
    ] {
        assert_eq!(sqlstate(&edit(&db, task_id, changes).await), code);
    }
    let unknown = edit(&db, Uuid::now_v7(), json!({"title": "u"})).await;
    assert_eq!(sqlstate(&unknown), "P0002");
    Ok(())
}

#[tokio::test]
async fn a_task_in_progress_can_neither_be_edited_nor_deleted() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    claim(&db.owner, agent.id).await?.context("the task")?;
    assert_eq!(
        sqlstate(&edit(&db, task_id, json!({"title": "u"})).await),
        "55000"
    );
    let deleted = sqlx::query("select devart.delete_task($1)")
        .bind(task_id)
        .execute(&db.owner)
        .await;
    assert_eq!(sqlstate(&deleted), "55000");
    Ok(())
}

#[tokio::test]
async fn people_edit_a_due_task_by_a_statement_of_their_own() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    let mut session = db.session_as(db.person("supervisor").await?).await?;
    for edit in [
        "update devart.tasks set title = 'u' where id = $1",
        "update devart.tasks set priority = 'HIGH' where id = $1",
        "update devart.tasks set required_capabilities = '{rust}' where id = $1",
        "update devart.tasks set estimated_cost_usd = 1 where id = $1",
    ] {
        let run_at = json!({"title": "t", "run_at": "2999-01-01T00:00:00Z"});
        let task_id = create(&mut session, run_at).await?;
        // Becomes due without anybody noticing, as time does it.
        sqlx::raw_sql("alter table devart.tasks disable trigger user")
            .execute(&db.owner)
            .await?;
        make_due(&db.owner, task_id).await?;
        sqlx::raw_sql("alter table devart.tasks enable trigger user")
            .execute(&db.owner)
            .await?;
        assert_eq!(status(&db.owner, task_id).await?, "SCHEDULED");
        sqlx::query(edit)
            .bind(task_id)
            .execute(&mut session)
            .await?;
        assert_eq!(status(&db.owner, task_id).await?, "TODO", "{edit}");
    }
    Ok(())
}
