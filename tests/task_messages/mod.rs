//! What the database has to say to agents that are pushed to: the messages that invite to tasks.

mod contents;
mod lanes;
mod occasions;
mod permissions;

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Database;

const TOPIC: &str = "rabbitmq.task";

/// A database whose messages somebody wants.
async fn database() -> Result<Database> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!([TOPIC])).await?;
    Ok(db)
}

/// Takes the messages written so far, in order.
async fn messages(db: &Database) -> Result<Vec<Value>> {
    let rows = sqlx::query_scalar(
        "with taken as (delete from devart_private.outbox where topic = $1 returning id, payload)
         select payload from taken order by id",
    );
    Ok(rows.bind(TOPIC).fetch_all(&db.owner).await?)
}

/// Kind, task and attempt of each message written so far.
async fn summaries(db: &Database) -> Result<Vec<(String, Uuid, i64)>> {
    let text =
        |message: &Value, member: &str| message[member].as_str().expect("a string").to_owned();
    let summary = |message: &Value| {
        let id = text(message, "task_id").parse().expect("a UUID");
        (
            text(message, "kind"),
            id,
            message["attempt"].as_i64().expect("a number"),
        )
    };
    Ok(messages(db).await?.iter().map(summary).collect())
}

fn invite(task_id: Uuid, attempt: i64) -> Vec<(String, Uuid, i64)> {
    vec![("invite".to_owned(), task_id, attempt)]
}
