//! Alerts go out over every topic that takes them, and money knows none of them.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::budget::{charge, service};
use crate::support::{Database, sqlstate};

/// The messages about alerts: topic, key and payload.
async fn messages(db: &Database) -> Result<Vec<(String, String, Value)>> {
    let rows = sqlx::query_as(
        "select topic, key, payload from devart_private.outbox order by topic collate \"C\"",
    );
    Ok(rows.fetch_all(&db.owner).await?)
}

#[tokio::test]
async fn an_alert_is_written_once_for_each_topic_that_takes_alerts() -> Result<()> {
    let db = Database::create().await?;
    let topics = json!([
        "rabbitmq.task",
        "telegram.alert",
        "pager.alert",
        "pager.alert",
        "a.b.alert"
    ]);
    db.set("outbox_topics", topics).await?;
    let id = service(&db.owner, "model", "10").await?;
    charge(&db.owner, id, "9", None).await?;
    let told = messages(&db).await?;
    let topics: Vec<&str> = told.iter().map(|(topic, _, _)| topic.as_str()).collect();
    assert_eq!(topics, ["pager.alert", "telegram.alert"]);
    for (_, key, payload) in &told {
        assert_eq!(*key, id.to_string());
        assert_eq!(*payload, told[0].2);
        assert_eq!(payload["kind"], "budget_threshold");
        assert_eq!(payload["service"], "model");
        assert_eq!(payload["threshold_percent"], 80);
    }
    Ok(())
}

#[tokio::test]
async fn an_alert_that_nobody_delivers_is_not_written_and_hinders_no_charge() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    charge(&db.owner, id, "6", None).await?;
    // By hand, past set_setting.
    for topics in [
        "\"telegram\"",
        "{\"telegram.alert\": 1}",
        "[1, null, \"rabbitmq.task\"]",
    ] {
        sqlx::query(
            "update devart.system_settings set value = $1::jsonb where key = 'outbox_topics'",
        )
        .bind(topics.parse::<Value>()?)
        .execute(&db.owner)
        .await?;
        charge(&db.owner, id, "1", None).await?;
    }
    assert!(messages(&db).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_no_topic_is_refused_and_when_put_there_by_hand_hinders_no_charge() -> Result<()> {
    let db = Database::create().await?;
    let long = format!("{}.alert", "0123456789abcdef".repeat(600));
    for topics in [
        json!([long]),
        json!(["a b.alert"]),
        json!([".alert"]),
        json!(["telegram"]),
        json!([7]),
        json!(vec!["telegram.alert"; 101]),
    ] {
        let refused = db.set("outbox_topics", topics.clone()).await;
        assert_eq!(sqlstate(&refused), "22023", "{topics}");
    }
    let id = service(&db.owner, "model", "10").await?;
    sqlx::query("update devart.system_settings set value = $1 where key = 'outbox_topics'")
        .bind(json!([long, "a b.alert", "telegram.alert"]))
        .execute(&db.owner)
        .await?;
    charge(&db.owner, id, "9", None).await?;
    let told = messages(&db).await?;
    let topics: Vec<&str> = told.iter().map(|(topic, _, _)| topic.as_str()).collect();
    assert_eq!(topics, ["telegram.alert"]);
    Ok(())
}
