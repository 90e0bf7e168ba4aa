//! Alerts that are refused are buried alone, with the reason.

use std::collections::BTreeSet;

use anyhow::Result;
use devart_cli::demo::telegram::Trouble;
use serde_json::{Value, json};

use super::{Alerting, answer};
use crate::support::outbox::buried;
use crate::support::wait::eventually;

#[tokio::test]
async fn what_telegram_refuses_is_buried_with_its_words_and_the_rest_goes_on() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram
        .plan([answer(400, "Bad Request: chat not found")]);
    let bridge = it.bridge().await?;
    it.exhaust("first").await?;
    eventually("the first alert is buried", async || {
        (buried(&it.db.owner).await.ok()?.len() == 1).then_some(())
    })
    .await;
    it.telegram.plan([answer(401, "Unauthorized")]);
    it.exhaust("second").await?;
    eventually("the second alert is buried", async || {
        (buried(&it.db.owner).await.ok()?.len() == 2).then_some(())
    })
    .await;
    assert!(!bridge.is_ready().await, "nobody knows this bot");
    it.exhaust("third").await?;
    it.wait_until_all_is_told(2).await;
    let reasons = buried(&it.db.owner).await?;
    let reasons: Vec<(i32, &str)> = reasons
        .iter()
        .map(|row| (row.attempt, row.last_error.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (1, "Telegram: Bad Request: chat not found"),
            (1, "Telegram: Unauthorized")
        ]
    );
    assert!(it.telegram.accepted()[0].contains("third"));
    Ok(())
}

#[tokio::test]
async fn one_alert_that_telegram_refuses_takes_no_other_along() -> Result<()> {
    let it = Alerting::start().await?;
    // Keeps the chat busy until the others wait together.
    it.telegram.plan([Trouble::Limited { retry_after: 5 }]);
    let _bridge = it.bridge().await?;
    it.exhaust("zero").await?;
    eventually("the first message came", async || {
        (it.telegram.received().len() == 1).then_some(())
    })
    .await;
    // The merged message is refused, and of its alerts the first.
    let bad = || answer(400, "Bad Request: can't parse entities");
    it.telegram.plan([bad(), bad()]);
    for name in ["one", "two", "three"] {
        it.exhaust(name).await?;
    }
    it.wait_until_all_is_told(1).await;
    let received = it.telegram.received();
    assert!(
        received[1].markdown.contains("\n\n"),
        "merged: {received:?}"
    );
    assert!(
        !received[2].markdown.contains("\n\n"),
        "alone: {received:?}"
    );
    let told = it.telegram.accepted().join("\n\n");
    let names = ["zero", "one", "two", "three"];
    assert_eq!(
        names.iter().filter(|name| told.contains(*name)).count(),
        3,
        "{told}"
    );
    assert_eq!(buried(&it.db.owner).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_payload_that_is_no_alert_is_buried_with_the_reason() -> Result<()> {
    let it = Alerting::start().await?;
    let _bridge = it.bridge().await?;
    let payloads: [Value; 3] = [
        json!({"kind": "party"}),
        json!([]),
        json!({"kind": "service_suspended"}),
    ];
    for payload in &payloads {
        sqlx::query("select devart_private.enqueue('telegram.alert', null, $1)")
            .bind(payload)
            .execute(&it.db.owner)
            .await?;
    }
    it.exhaust("model").await?;
    it.wait_until_all_is_told(3).await;
    let reasons: BTreeSet<String> = buried(&it.db.owner)
        .await?
        .into_iter()
        .map(|row| row.last_error)
        .collect();
    assert_eq!(reasons.len(), 3);
    assert!(
        reasons
            .iter()
            .any(|it| it.contains("unknown variant `party`")),
        "{reasons:?}"
    );
    assert_eq!(it.telegram.accepted().len(), 1);
    Ok(())
}
