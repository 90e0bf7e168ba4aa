//! Counters that claims, maintain() and the outbox add to: nobody sets one to where adding to it
//! fails for whoever does it next, and one at its end harms nobody.

use anyhow::Result;
use serde_json::json;

use crate::support::budget::{hold_of, reserve, service};
use crate::support::outbox::enqueue;
use crate::support::outbox_rows;
use crate::support::queue::{claim, claim_batch, complete, create, expire_lease, start, task};
use crate::support::{Database, run_sql, sqlstate};

/// The most that a counter can be.
const MOST: i32 = 1_000_000_000;

/// Integers that nothing adds to.
const NOT_COUNTED: [&str; 3] = [
    "devart.tasks.lane_id",
    "devart_private.disk_probe.id",
    "devart_private.idempotency.status",
];

/// Integers of fewer than eight bytes that no constraint bounds. Identities are sequences.
const UNBOUNDED: &str = "
    select format('%s.%s.%s', c.relnamespace::regnamespace, c.relname, a.attname)
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_type t on t.oid = a.atttypid
    where c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
      and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and a.attidentity = ''
      and coalesce(nullif(t.typbasetype, 0), t.oid) in ('int2'::regtype, 'int4'::regtype)
      and not exists (
          select from pg_constraint k
          where k.contype = 'c'
            and (k.contypid = t.oid or k.conrelid = c.oid and k.conkey = array[a.attnum])
      )
    order by 1";

#[tokio::test]
async fn every_counter_has_a_range() -> Result<()> {
    let db = Database::create().await?;
    let unbounded: Vec<String> = sqlx::query_scalar(UNBOUNDED).fetch_all(&db.owner).await?;
    assert_eq!(unbounded, NOT_COUNTED);
    Ok(())
}

#[tokio::test]
async fn nobody_sets_a_counter_to_where_adding_to_it_fails() -> Result<()> {
    let db = outbox_rows::database().await?;
    db.agent(&[]).await?;
    let id = service(&db.owner, "model", "10").await?;
    hold_of(&reserve(&db.owner, id, "1").await?);
    create(&db.owner, json!({"title": "t"})).await?;
    enqueue(&db.owner, None, 1, 1).await?;
    let mut session = db.session().await?;
    for (table, column) in [
        ("devart.tasks", "attempt"),
        ("devart.tasks", "retry_count"),
        ("devart.tasks", "rescue_count"),
        ("devart.tasks", "open_dependencies"),
        ("devart.tasks", "max_retries"),
        ("devart.tasks", "timeout_seconds"),
        ("devart.agents", "active_task_count"),
        ("devart.service_registry", "alerted_percent"),
        ("devart.holds", "attempt"),
        ("devart_private.outbox", "attempt"),
    ] {
        for value in [i32::MAX, MOST + 1, -1] {
            let sql = format!("update {table} set {column} = {value}");
            let outcome = sqlstate(&run_sql(&mut session, sql.clone()).await);
            assert_eq!(outcome, "23514", "{sql}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_task_of_the_last_attempt_is_handed_out_beside_the_others() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut tasks = Vec::new();
    for title in ["claimed", "started", "young"] {
        tasks.push(create(&db.owner, json!({"title": title})).await?);
    }
    sqlx::query("update devart.tasks set attempt = $1 where title <> 'young'")
        .bind(MOST)
        .execute(&db.owner)
        .await?;
    let started = start(&db.owner, tasks[1], agent.id).await?;
    assert_eq!(started.map(|task| task.attempt), Some(MOST));
    let claimed = claim_batch(&db.owner, agent.id, 10).await?;
    let attempts: Vec<(&str, i32)> = claimed
        .iter()
        .map(|task| (task.title.as_str(), task.attempt))
        .collect();
    assert_eq!(attempts, [("claimed", MOST), ("young", 1)]);
    for claim in &claimed {
        assert_eq!(complete(&db.owner, claim).await?, "DONE");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_that_was_rescued_too_often_to_count_fails_beside_others_that_are_rescued()
-> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut tasks = Vec::new();
    for title in ["old", "young"] {
        let id = create(&db.owner, json!({"title": title})).await?;
        claim(&db.owner, agent.id).await?;
        expire_lease(&db.owner, id).await?;
        tasks.push(id);
    }
    sqlx::query("update devart.tasks set rescue_count = $1 where title = 'old'")
        .bind(MOST)
        .execute(&db.owner)
        .await?;
    assert_eq!(db.maintain().await?["rescued"], 2);
    assert_eq!(task(&db.owner, tasks[0]).await?.status, "FAILED");
    assert_eq!(task(&db.owner, tasks[1]).await?.status, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_message_that_failed_too_often_to_count_is_buried_and_its_batch_goes_on() -> Result<()> {
    let db = outbox_rows::database().await?;
    enqueue(&db.owner, None, 1, 2).await?;
    sqlx::query("update devart_private.outbox set attempt = $1 where payload ->> 'n' = '1'")
        .bind(MOST)
        .execute(&db.owner)
        .await?;
    let leased = outbox_rows::claim(&db.owner, 10).await?;
    let mut failed = outbox_rows::fail(&db.owner, &leased, Some(0.0)).await?;
    failed.sort_unstable();
    let buried: Vec<bool> = failed.iter().map(|(_, buried)| *buried).collect();
    assert_eq!(buried, [true, false]);
    Ok(())
}
