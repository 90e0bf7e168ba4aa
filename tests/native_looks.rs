//! What native functions look up and append without a statement (pg_devart/src/pg), where things are
//! not as devart's SQL makes them.

use anyhow::Result;
use serde_json::json;
use sqlx::Connection;

use crate::support::queue::{claim, create, create_many};
use crate::support::{Database, refusal, sqlstate};

const CLAIM_INDEX: &str = "devart.tasks_claim_idx";
const FEATURE_NOT_SUPPORTED: &str = "0A000";

#[tokio::test]
async fn a_claim_refuses_an_index_that_is_not_valid_and_names_it() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "waits"})).await?;
    for flag in ["indisvalid", "indisready"] {
        let set = |value: bool| {
            format!(
                "update pg_index set {flag} = {value} where indexrelid = '{CLAIM_INDEX}'::regclass"
            )
        };
        let mut session = db.session().await?;
        crate::support::run_sql(&mut session, set(false)).await?;
        let refused = claim(&mut session, agent.id).await;
        assert_eq!(sqlstate(&refused), "55000", "{flag}");
        assert!(refusal(refused).contains("tasks_claim_idx"));
        crate::support::run_sql(&mut session, set(true)).await?;
    }
    assert!(claim(&db.owner, agent.id).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_claim_refuses_an_index_that_is_not_as_it_was_made() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "waits"})).await?;
    for other in [
        "devart.tasks (lane_id, priority, ready_at desc) where status = 'TODO'",
        "devart.tasks (lane_id, ready_at, priority) where status = 'TODO'",
        "devart.tasks (lane_id, priority) where status = 'TODO'",
        "devart.tasks using hash (lane_id) where status = 'TODO'",
        "devart.task_dependencies (task_id)",
    ] {
        let mut session = db.session().await?;
        let sql = format!("drop index {CLAIM_INDEX}; create index tasks_claim_idx on {other}");
        crate::support::run_sql(&mut session, sql).await?;
        assert_eq!(
            sqlstate(&claim(&mut session, agent.id).await),
            "55000",
            "{other}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_setting_is_not_read_through_an_index_that_takes_different_texts_for_equal() -> Result<()>
{
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let careless = sqlx::raw_sql(
        "create collation public.careless
             (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
    )
    .execute(&db.owner)
    .await;
    if sqlstate(&careless) == FEATURE_NOT_SUPPORTED {
        // Only ICU has such collations, and this server was built without it.
        return Ok(());
    }
    careless?;
    sqlx::raw_sql(
        "alter table devart.system_settings drop constraint system_settings_pkey;
         create index system_settings_pkey on devart.system_settings (key collate public.careless)",
    )
    .execute(&db.owner)
    .await?;
    assert_eq!(sqlstate(&claim(&db.owner, agent.id).await), "55000");
    Ok(())
}

#[tokio::test]
async fn a_history_that_is_no_plain_table_is_refused() -> Result<()> {
    for other in [
        "create view devart.task_events as select * from devart.kept",
        "create table devart.task_events (like devart.kept) partition by list (attempt)",
        "create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
         create foreign table devart.task_events (task_id uuid) server nowhere",
    ] {
        let db = Database::create().await?;
        let mut session = db.session().await?;
        let sql = format!("alter table devart.task_events rename to kept; {other};");
        crate::support::run_sql(&mut session, sql).await?;
        let created = create(&mut session, json!({"title": "without a history"})).await;
        assert_eq!(sqlstate(&created), "42809", "{other}");
    }
    Ok(())
}

/// Reading or writing a number where a text stands would end the server.
#[tokio::test]
async fn a_column_whose_type_was_changed_is_refused_and_named() -> Result<()> {
    for (table, column, other) in [
        ("task_events", "attempt", "text"),
        ("task_events", "actor", "bigint"),
        ("task_events", "at", "text"),
        ("system_settings", "value", "bigint"),
        ("tasks", "run_at", "bigint"),
        ("tasks", "created_by", "bigint"),
        ("tasks", "attempt", "text"),
    ] {
        let db = Database::create().await?;
        let mut session = db.session().await?;
        create(&mut session, json!({"title": "before"})).await?;
        let sql = format!(
            "alter table devart.{table} drop column {column} cascade;
             alter table devart.{table} add column {column} {other}"
        );
        let agent = db.agent(&[]).await?;
        crate::support::run_sql(&mut session, sql).await?;
        let refused = sqlx::query("insert into devart.tasks (title) values ('after')")
            .execute(&mut session)
            .await;
        let refused = match table {
            "system_settings" => claim(&mut session, agent.id).await.map(drop),
            _ => refused.map(drop),
        };
        assert_eq!(sqlstate(&refused), "42804", "{table}.{column}");
        let message = refusal(refused);
        // Without its schema where that is in the search path.
        let named = format!("{table} is of type");
        assert!(
            message.starts_with(&format!("column {column} of ")),
            "{message}"
        );
        assert!(message.contains(&named), "{message}");
        sqlx::query("select 1").execute(&mut session).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_knows_a_column_notices_that_its_type_was_changed() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session().await?;
    create(&mut session, json!({"title": "before"})).await?;
    sqlx::raw_sql(
        "alter table devart.task_events drop constraint task_events_attempt_check;
         alter table devart.task_events alter column attempt type text",
    )
    .execute(&db.owner)
    .await?;
    let created = create(&mut session, json!({"title": "after"})).await;
    assert_eq!(sqlstate(&created), "42804");
    sqlx::raw_sql(
        "alter table devart.task_events alter column attempt type int using attempt::int",
    )
    .execute(&db.owner)
    .await?;
    create(&mut session, json!({"title": "changed back"})).await?;
    Ok(())
}

#[tokio::test]
async fn a_column_of_a_type_that_looks_the_same_is_taken() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql(
        "create domain public.counted as int;
         alter table devart.task_events alter column attempt type public.counted;
         alter table devart.task_events alter column actor type varchar",
    )
    .execute(&db.owner)
    .await?;
    create(&db.owner, json!({"title": "as before"})).await?;
    let events: i64 = sqlx::query_scalar("select count(*) from devart.task_events")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(events, 1);
    Ok(())
}

#[tokio::test]
async fn columns_that_others_add_to_the_history_get_their_defaults() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql(
        "create sequence public.numbers; grant usage on schema public to public;
         grant usage on sequence public.numbers to public;
         alter table devart.task_events
             add column source text not null default 'here',
             add column number bigint not null default nextval('public.numbers'),
             add column empty text,
             add column doubled int not null generated always as (attempt * 2) stored",
    )
    .execute(&db.owner)
    .await?;
    create_many(&db.owner, 3).await?;
    let rows: Vec<(String, i64, Option<String>, i32)> = sqlx::query_as(
        "select source, number, empty, doubled from devart.task_events order by number",
    )
    .fetch_all(&db.owner)
    .await?;
    let expected = |number| ("here".to_owned(), number, None, 0);
    assert_eq!(rows, [expected(1), expected(2), expected(3)]);
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_sees_the_past_is_told_that_a_task_was_taken_since() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (mut old, mut young) = (db.session().await?, db.session().await?);
    for end in [
        "update devart.tasks set title = 'edited' where status = 'TODO'",
        "delete from devart.tasks where status = 'TODO'",
    ] {
        create(&db.owner, json!({"title": "seen by both"})).await?;
        let mut transaction = old.begin().await?;
        sqlx::raw_sql("set transaction isolation level repeatable read; select now()")
            .execute(&mut *transaction)
            .await?;
        sqlx::raw_sql(end).execute(&mut young).await?;
        let claimed = claim(&mut *transaction, agent.id).await;
        assert_eq!(sqlstate(&claimed), "40001", "{end}");
        transaction.rollback().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_sees_the_past_passes_over_what_others_hold_at_the_moment() -> Result<()>
{
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (mut old, mut young) = (db.session().await?, db.session().await?);
    create_many(&db.owner, 2).await?;
    let mut holding = young.begin().await?;
    let held = claim(&mut *holding, agent.id).await?.expect("a task");
    let mut transaction = old.begin().await?;
    sqlx::raw_sql("set transaction isolation level repeatable read; select now()")
        .execute(&mut *transaction)
        .await?;
    let other = claim(&mut *transaction, agent.id)
        .await?
        .expect("the other");
    assert_ne!(held.task_id, other.task_id);
    transaction.commit().await?;
    holding.rollback().await?;
    Ok(())
}

#[tokio::test]
async fn a_trigger_of_others_may_claim_within_a_claim() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 3).await?;
    sqlx::raw_sql(
        "create function public.claim_more() returns trigger language plpgsql as $$
         begin
             perform devart.claim_next_task(new.agent_id);
             return null;
         end
         $$;
         create trigger zz_claim_more after update on devart.tasks for each row
             when (new.status = 'IN_PROGRESS') execute function public.claim_more();
         grant usage on schema public to public;
         grant execute on function public.claim_more() to public",
    )
    .execute(&db.owner)
    .await?;
    assert!(claim(&db.owner, agent.id).await?.is_some());
    let left: i64 = sqlx::query_scalar("select count(*) from devart.tasks where status = 'TODO'")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(left, 0);
    Ok(())
}

#[tokio::test]
async fn a_library_before_its_schema_says_that_migrate_is_missing() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql("alter table devart.tasks drop column needs_approval cascade")
        .execute(&db.owner)
        .await?;
    let insert = "insert into devart.tasks (title, priority) values ('t', 'LOW')";
    let refused = sqlx::query(insert).execute(&db.owner).await;
    assert_eq!(sqlstate(&refused), "55000");
    assert!(refusal(refused).contains("needs_approval"));
    Ok(())
}
