//! How much room the outbox takes.

use anyhow::{Result, ensure};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::migrate;
use sqlx::PgPool;

use crate::support::outbox::{enable, enqueue};
use crate::support::outbox_rows::{acknowledge, claim, database};
use crate::support::wait::eventually;

/// Rows of a round, and how many rounds.
const ROUND: i64 = 4_000;
const ROUNDS: usize = 8;

#[tokio::test]
async fn the_table_does_not_grow_however_much_goes_through_it() -> Result<()> {
    let settings = [("autovacuum_naptime", "1s"), ("max_connections", "50")];
    let cluster = Cluster::temporary(ClusterOptions {
        settings: settings.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        ..ClusterOptions::for_tests()
    })?;
    let url = cluster.url("devart");
    migrate::migrate(&url).await?;
    let pool = PgPool::connect(&url).await?;
    enable(&pool).await?;
    let mut sizes = Vec::new();
    for _ in 0..ROUNDS {
        let vacuumed = times_vacuumed(&pool).await?;
        pass_through(&pool, ROUND).await?;
        eventually("autovacuum finds the dead rows by itself", async || {
            (times_vacuumed(&pool).await.ok()? > vacuumed).then_some(())
        })
        .await;
        sizes.push(size(&pool).await?);
    }
    // One round's rows and their leased versions, and not eight.
    assert!(
        sizes[ROUNDS - 1] <= sizes[1] * 3 / 2,
        "bytes after each round: {sizes:?}"
    );
    Ok(())
}

/// Enqueues, leases and acknowledges rows in small steps, so that few are there at a time.
async fn pass_through(pool: &PgPool, rows: i64) -> Result<()> {
    for step in 0..rows / 200 {
        enqueue(pool, None, step * 200 + 1, step * 200 + 200).await?;
        let leased = claim(pool, 200).await?;
        ensure!(leased.len() == 200, "all are due");
        ensure!(
            acknowledge(pool, &leased).await?.len() == 200,
            "all are ours"
        );
    }
    Ok(())
}

async fn times_vacuumed(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select autovacuum_count from pg_stat_all_tables where relid = 'devart_private.outbox'::regclass")
        .fetch_one(pool)
        .await
}

async fn size(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select pg_total_relation_size('devart_private.outbox')")
        .fetch_one(pool)
        .await
}

#[tokio::test]
async fn leasing_a_full_table_mostly_needs_no_new_index_entries() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 1000).await?;
    claim(&db.owner, 1000).await?;
    let (updates, hot) = eventually("the counters arrive", async || {
        let counters: (i64, i64) = sqlx::query_as(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_all_tables where relid = 'devart_private.outbox'::regclass",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        (counters.0 >= 1000).then_some(counters)
    })
    .await;
    // Leased rows are a little longer, so of these tiny ones not all fit into the free half of their page.
    assert!(
        hot * 100 >= updates * 75,
        "{hot} of {updates} stayed on their page"
    );
    Ok(())
}
