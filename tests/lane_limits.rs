//! Lanes (sets of required capabilities): nobody can make thousands, and what nobody needs goes.

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgDatabaseError;
use uuid::Uuid;

use crate::support::queue::{claim, create, fail, start};
use crate::support::{Caller, Database, run_sql, sqlstate};

async fn lanes(db: &Database) -> Result<i64> {
    let lanes = sqlx::query_scalar("select count(*) from devart_private.lanes");
    Ok(lanes.fetch_one(&db.owner).await?)
}

/// Creates a task in each of these lanes, in one statement.
async fn fill(db: &Database, caller: Caller, prefix: &str, count: i32) -> sqlx::Result<()> {
    let sql = format!(
        "select devart.create_tasks((select jsonb_agg(jsonb_build_object(
            'title', 't', 'required_capabilities', jsonb_build_array('{prefix}' || n)))
         from generate_series(1, {count}) n))"
    );
    run_sql(&mut db.session_as(caller).await?, sql).await
}

#[tokio::test]
async fn no_lane_and_no_task_asks_for_what_no_client_can_read() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session().await?;
    for odd in ["'{NULL}'", "'{{a,b},{c,d}}'", "'[5:6]={a,b}'"] {
        for door in [
            "insert into devart_private.lanes (required_capabilities) values ({})",
            "insert into devart.tasks (title, required_capabilities) values ('t', {})",
            "select devart.create_task('t', required_capabilities => {})",
        ] {
            let outcome = run_sql(&mut session, door.replace("{}", odd)).await;
            assert_eq!(sqlstate(&outcome), "23514", "{door} took {odd}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_statement_cannot_make_lanes_without_end() -> Result<()> {
    let db = Database::create().await?;
    let (one, other) = (
        db.person("supervisor").await?,
        db.person("supervisor").await?,
    );
    let refused = fill(&db, one, "a", 1500).await.expect_err("too many");
    let refused = refused
        .as_database_error()
        .context("the database's")?
        .downcast_ref::<PgDatabaseError>();
    assert_eq!(refused.code(), "22023");
    assert_eq!(
        refused.detail(),
        Some(r#"{"field": "required_capabilities"}"#)
    );
    assert_eq!(lanes(&db).await?, 1, "the general one");

    fill(&db, one, "a", 250).await?;
    assert_eq!(sqlstate(&fill(&db, one, "b", 1).await), "22023");
    fill(&db, one, "a", 250).await?;
    fill(&db, other, "b", 250).await?;
    db.set("max_lanes", json!(501)).await?;
    let third = db.person("supervisor").await?;
    assert_eq!(sqlstate(&fill(&db, third, "c", 1).await), "22023");
    // Operators set the limits, and are not held up by them.
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["operators"]}),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_capability_that_no_index_could_hold_is_refused_by_name() -> Result<()> {
    let db = Database::create().await?;
    let long = "x".repeat(10_000);
    let many: Vec<String> = (0..20).map(|n| format!("{n:0>101}")).collect();
    let wide: Vec<String> = (10..30).map(|n| "ü".repeat(90) + &n.to_string()).collect();
    for capabilities in [json!([long]), json!([""]), json!(many), json!(wide)] {
        let arguments = json!({"title": "t", "required_capabilities": capabilities});
        let refused = create(&db.owner, arguments).await;
        assert_eq!(sqlstate(&refused), "22023", "{capabilities}");
        let edited = create(&db.owner, json!({"title": "t"})).await?;
        let refused = sqlx::query("select devart.update_task($1, $2)")
            .bind(edited)
            .bind(json!({"required_capabilities": capabilities}))
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&refused), "22023", "{capabilities}");
    }
    assert_eq!(sqlstate(&db.agent(&[&long]).await), "22023");
    assert_eq!(sqlstate(&db.agent(&[""]).await), "22023");
    let fits: Vec<String> = (0..20).map(|n| format!("{n:0>100}")).collect();
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": fits}),
    )
    .await?;
    Ok(())
}

/// Lets a day pass, as far as lanes know.
async fn a_day_later(db: &Database) -> Result<()> {
    sqlx::query("update devart_private.lanes set used_at = used_at - interval '25 hours'")
        .execute(&db.owner)
        .await?;
    db.maintain().await?;
    Ok(())
}

async fn lane_exists(db: &Database, capability: &str) -> Result<bool> {
    let exists = sqlx::query_scalar(
        "select exists (select from devart_private.lanes where required_capabilities = array[$1])",
    );
    Ok(exists.bind(capability).fetch_one(&db.owner).await?)
}

async fn task_for(db: &Database, capability: &str) -> sqlx::Result<Uuid> {
    let arguments = json!({"title": capability, "required_capabilities": [capability]});
    create(&db.owner, arguments).await
}

#[tokio::test]
async fn a_lane_that_nobody_needed_for_a_day_goes_and_others_stay() -> Result<()> {
    let db = Database::create().await?;
    let mut deactivated = db.agent(&["retired"]).await?;
    let agent = db.agent(&["served", "busy", "idle"]).await?;
    task_for(&db, "busy").await?;
    let busy = claim(&db.owner, agent.id).await?.context("a task")?;
    task_for(&db, "waiting").await?;
    let cancelled = task_for(&db, "cancelled").await?;
    sqlx::query("select devart.cancel_task($1), devart.set_agent_activation($2, false)")
        .bind(cancelled)
        .bind(deactivated.id)
        .execute(&db.owner)
        .await?;
    a_day_later(&db).await?;
    for (capability, stays) in [
        ("served", true),
        ("busy", true),
        ("waiting", true),
        ("cancelled", false),
        ("retired", false),
    ] {
        assert_eq!(lane_exists(&db, capability).await?, stays, "{capability}");
    }
    assert_eq!(busy.title, "busy");

    // Who comes back has a lane again.
    sqlx::query("select devart.set_agent_activation($1, true)")
        .bind(deactivated.id)
        .execute(&db.owner)
        .await?;
    assert!(lane_exists(&db, "retired").await?);
    deactivated = db.agent(&["cancelled"]).await?;
    a_day_later(&db).await?;
    assert!(lane_exists(&db, "cancelled").await?, "{}", deactivated.id);
    Ok(())
}

#[tokio::test]
async fn a_task_that_comes_back_after_its_lane_went_is_handed_out_all_the_same() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    let agent = db.agent(&["a", "b"]).await?;
    let id = create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["b", "a"]}),
    )
    .await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    fail(&db.owner, &claimed, false).await?;
    a_day_later(&db).await?;
    sqlx::query("delete from devart_private.outbox")
        .execute(&db.owner)
        .await?;
    sqlx::query("select devart.retry_task($1)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert!(
        start(&db.owner, id, agent.id).await?.is_none(),
        "its lane is gone"
    );
    sqlx::query("delete from devart_private.outbox")
        .execute(&db.owner)
        .await?;
    a_day_later(&db).await?;
    let invited: Vec<String> = sqlx::query_scalar(
        "select payload ->> 'task_id' from devart_private.outbox where topic = 'rabbitmq.task'",
    )
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(invited, [id.to_string()]);
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    assert_eq!(claimed.task_id, id);
    Ok(())
}

#[tokio::test]
async fn a_task_whose_lane_went_gets_another_one_though_there_are_as_many_as_may_be() -> Result<()>
{
    let db = Database::create().await?;
    let agent = db.agent(&["a", "b"]).await?;
    let id = create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a", "b"]}),
    )
    .await?;
    sqlx::raw_sql(
        "delete from devart_private.lanes where cardinality(required_capabilities) = 2;
         update devart_private.lanes set used_at = used_at - interval '1 hour' where id = 1",
    )
    .execute(&db.owner)
    .await?;
    db.set("max_lanes", json!(1)).await?;
    // As the API calls it.
    let mut session = sqlx::PgConnection::connect(&db.authenticator_url()).await?;
    let done: serde_json::Value = sqlx::query_scalar("select devart_private.maintain()")
        .fetch_one(&mut session)
        .await?;
    assert_eq!(done["failed"], json!(null), "{done}");
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    assert_eq!(claimed.task_id, id);
    Ok(())
}
