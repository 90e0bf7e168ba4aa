//! The history of tasks, which is appended without a statement (pg_devart/src/pg/append.rs).

use anyhow::{Context, Result};
use serde_json::json;

use crate::support::queue::{claim, complete, create, create_many};
use crate::support::{Database, sqlstate};

#[tokio::test]
async fn row_triggers_of_others_see_every_event() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql(
        "create table public.seen (what text);
         create function public.see() returns trigger language plpgsql as $$
         begin
             insert into public.seen values (format('%s %s', coalesce(new.from_status::text, '-'), new.to_status));
             return null;
         end
         $$;
         create trigger see after insert on devart.task_events for each row execute function public.see();
         grant insert on public.seen to public; grant usage on schema public to public;
         grant execute on function public.see() to public;",
    )
    .execute(&db.owner)
    .await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "watched"})).await?;
    let held = claim(&db.owner, agent.id)
        .await?
        .context("one task waits")?;
    complete(&db.owner, &held).await?;
    let seen: Vec<String> = sqlx::query_scalar("select what from public.seen order by ctid")
        .fetch_all(&db.owner)
        .await?;
    assert_eq!(seen, ["- TODO", "TODO IN_PROGRESS", "IN_PROGRESS DONE"]);
    Ok(())
}

#[tokio::test]
async fn constraints_of_others_hold_and_refuse_the_change_with_its_event() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "may not be claimed"})).await?;
    sqlx::query("alter table devart.task_events add constraint nobody_works check (to_status <> 'IN_PROGRESS')")
        .execute(&db.owner)
        .await?;
    assert_eq!(sqlstate(&claim(&db.owner, agent.id).await), "23514");
    let status: String = sqlx::query_scalar("select status::text from devart.tasks")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(status, "TODO");
    Ok(())
}

#[tokio::test]
async fn each_task_of_one_statement_has_its_event_with_a_number_of_its_own() -> Result<()> {
    let db = Database::create().await?;
    create_many(&db.owner, 300).await?;
    let (events, tasks, numbers): (i64, i64, i64) = sqlx::query_as(
        "select count(*), count(distinct e.task_id), count(distinct e.id)
         from devart.task_events e join devart.tasks t on t.id = e.task_id and t.status = e.to_status",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!((events, tasks, numbers), (300, 300, 300));
    Ok(())
}
