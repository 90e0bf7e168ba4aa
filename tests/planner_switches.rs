//! Statements of the native functions find their rows through indexes (pg_devart/src/pg/planner.rs),
//! and what they set off does not notice how they were planned.

use anyhow::Result;
use serde_json::json;
use sqlx::PgConnection;

use crate::support::Database;
use crate::support::queue::{claim, complete, create, create_many};

#[tokio::test]
async fn what_a_claim_sets_off_sees_the_sessions_own_settings() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql(
        "create table public.seen (setting text);
         create function public.see() returns trigger language plpgsql as $$
         begin
             insert into public.seen select current_setting(s) from unnest(array[
                 'enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin']) s;
             return null;
         end
         $$;
         create trigger see after update on devart.tasks
             for each row execute function public.see();
         grant usage on schema public to public; grant insert on public.seen to public;
         grant execute on function public.see() to public;",
    )
    .execute(&db.owner)
    .await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "the first of its session"})).await?;
    let mut session = db.session().await?;
    let held = claim(&mut session, agent.id).await?.expect("the task");
    complete(&mut session, &held).await?;
    let seen: Vec<String> = sqlx::query_scalar("select distinct setting from public.seen")
        .fetch_all(&db.owner)
        .await?;
    assert_eq!(seen, ["on"]);
    Ok(())
}

/// How often this session has scanned the table of tasks as a whole.
async fn scans(session: &mut PgConnection) -> Result<i64> {
    sqlx::query("select pg_stat_force_next_flush()")
        .execute(&mut *session)
        .await?;
    let scans = "select pg_stat_get_numscans('devart.tasks'::regclass)";
    Ok(sqlx::query_scalar(scans).fetch_one(session).await?)
}

#[tokio::test]
async fn a_plan_that_is_made_again_goes_through_indexes_as_the_first_one_did() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 5).await?;
    let mut session = db.session().await?;
    for change in [
        "select 1",
        "analyze devart.tasks",
        "comment on table devart.tasks is 'changed'; alter table devart.tasks set (fillfactor = 90)",
    ] {
        // By another session: the news arrives while the claim runs.
        sqlx::raw_sql(change).execute(&db.owner).await?;
        let before = scans(&mut session).await?;
        let held = claim(&mut session, agent.id).await?.expect("a task");
        complete(&mut session, &held).await?;
        assert_eq!(scans(&mut session).await?, before, "after {change}");
    }
    Ok(())
}
