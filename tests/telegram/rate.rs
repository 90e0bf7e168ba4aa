//! Telegram's limits: one message a second, and the silence that it asks for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use devart_cli::demo::telegram::Trouble;

use super::{Alerting, answer};
use crate::support::wait::eventually;

#[tokio::test]
async fn a_burst_becomes_few_messages_that_are_a_second_apart() -> Result<()> {
    let it = Alerting::start().await?;
    let names: BTreeSet<String> = (0..40)
        .map(|n| format!("{n:02}{}", "-".repeat(150)))
        .collect();
    for name in &names {
        it.exhaust(name).await?;
    }
    it.telegram.plan([answer(502, "Bad Gateway")]);
    let _bridge = it.bridge().await?;
    it.wait_until_all_is_told(0).await;
    let received = it.telegram.received();
    assert!(
        received.len() < 15,
        "merged, not {} messages",
        received.len()
    );
    for pair in received.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(
            gap >= Duration::from_secs(1),
            "only {gap:?} between two messages"
        );
    }
    let longest = received
        .iter()
        .map(|it| it.markdown.encode_utf16().count())
        .max();
    assert!(longest <= Some(4096), "{longest:?}");
    let told = it.telegram.accepted().join("\n\n");
    let told: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("is suspended"))
        .collect();
    assert_eq!(told.len(), names.len(), "each once");
    let missing = names
        .iter()
        .find(|name| !told.iter().any(|line| line.contains(*name)));
    assert_eq!(missing, None);
    Ok(())
}

#[tokio::test]
async fn an_alert_arrives_once_in_spite_of_429_500_and_a_dropped_connection() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan([
        Trouble::Limited { retry_after: 3 },
        answer(500, "Internal Server Error"),
        Trouble::Dropped,
    ]);
    let bridge = it.bridge().await?;
    it.exhaust("model").await?;
    it.wait_until_all_is_told(0).await;
    let received = it.telegram.received();
    assert_eq!(received.len(), 4, "{received:?}");
    assert_eq!(it.telegram.accepted().len(), 1);
    let silence = received[1].at - received[0].at;
    assert!(
        silence >= Duration::from_secs(3),
        "only {silence:?} after 429"
    );
    assert!(bridge.is_ready().await, "Telegram answers again");
    Ok(())
}

#[tokio::test]
async fn new_alerts_keep_the_silence_that_telegram_asked_for() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan([Trouble::Limited { retry_after: 3 }]);
    let _bridge = it.bridge().await?;
    it.exhaust("first").await?;
    eventually("the first message came", async || {
        (it.telegram.received().len() == 1).then_some(())
    })
    .await;
    it.exhaust("second").await?;
    it.wait_until_all_is_told(0).await;
    let received = it.telegram.received();
    let silence = received[1].at - received[0].at;
    assert!(
        silence >= Duration::from_secs(3),
        "only {silence:?} after 429"
    );
    Ok(())
}
