//! Calls in one round trip over connections that the server has ended: each is made, and once.

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::http::Http;
use crate::support::wait::eventually;

/// At once, so that the API has this many connections idle afterwards.
const CALLS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn creates_at_once_over_dead_connections_are_each_made_once() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    create_at_once(&supervisor, 0..CALLS).await?;
    end_idle_connections(&db).await?;
    create_at_once(&supervisor, CALLS..2 * CALLS).await?;
    assert_each_exists_once(&db, 2 * CALLS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_one_by_one_over_dead_connections_are_each_made_once() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    create_at_once(&supervisor, 0..CALLS).await?;
    end_idle_connections(&db).await?;
    for number in CALLS..3 * CALLS {
        create(&supervisor, number).await?;
    }
    assert_each_exists_once(&db, 3 * CALLS).await
}

async fn create_at_once(client: &Http, numbers: std::ops::Range<usize>) -> Result<()> {
    try_join_all(numbers.map(|number| create(client, number))).await?;
    Ok(())
}

async fn create(client: &Http, number: usize) -> Result<Value> {
    let task = json!({"title": format!("task {number}")});
    Ok(client.post("/api/tasks", task).await?.expect(201))
}

/// Ends them, waits until they are gone, and leaves the API no time to find out by itself.
async fn end_idle_connections(db: &Database) -> Result<()> {
    let ended: Vec<i32> = sqlx::query_scalar(
        "with idle as materialized (
           select pid from pg_stat_activity
           where datname = current_database() and usename = 'authenticator' and state = 'idle'
             and query not ilike 'listen%'
         )
         select pid from idle where pg_terminate_backend(pid)",
    )
    .fetch_all(&db.owner)
    .await?;
    assert!(ended.len() > 1, "{} connections were idle", ended.len());
    eventually("the connections are gone", async || {
        let gone: bool = sqlx::query_scalar(
            "select not exists (select from pg_stat_activity where pid = any ($1))",
        )
        .bind(&ended)
        .fetch_one(&db.owner)
        .await
        .ok()?;
        gone.then_some(())
    })
    .await;
    Ok(())
}

async fn assert_each_exists_once(db: &Database, number: usize) -> Result<()> {
    let (tasks, titles): (i64, i64) =
        sqlx::query_as("select count(*), count(distinct title) from devart.tasks")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!((tasks, titles), (number as i64, number as i64));
    Ok(())
}
