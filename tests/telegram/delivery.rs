//! Which chats are told, and how often.

use anyhow::Result;
use devart_cli::stand_in::telegram::Trouble;

use super::{Alerting, answer};
use crate::support::outbox::count;
use crate::support::outbox_rows::expire_leases;
use crate::support::telegram::Bridge;
use crate::support::wait::eventually;

#[tokio::test]
async fn without_a_token_alerts_are_logged_and_acknowledged() -> Result<()> {
    let it = Alerting::start().await?;
    let url = it.telegram.url();
    let variables = [
        ("TELEGRAM_BOT_TOKEN", ""),
        ("TELEGRAM_CHAT_ID", ""),
        ("TELEGRAM_API_URL", &url),
        ("RUST_LOG", ""),
    ];
    let bridge = Bridge::start_with(&it.db.bridge_url("telegram"), &variables).await?;
    it.exhaust("model").await?;
    it.wait_until_all_is_told(0).await;
    let (status, log) = bridge.stop().await;
    assert!(status.success());
    assert!(
        log.contains("⛔ model is suspended: its budget is spent; spent 10.00 of 10.00 USD"),
        "{log}"
    );
    assert!(it.telegram.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_bridge_killed_before_it_acknowledges_tells_again() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan([Trouble::Unanswered]);
    let bridge = it.bridge().await?;
    it.exhaust("model").await?;
    eventually("the message was accepted", async || {
        (it.telegram.accepted().len() == 1).then_some(())
    })
    .await;
    bridge.kill();
    assert_eq!(
        count(&it.db.owner).await,
        Some(1),
        "it was not acknowledged"
    );
    expire_leases(&it.db.owner).await?;
    let _successor = it.bridge().await?;
    it.wait_until_all_is_told(0).await;
    let told = it.telegram.accepted();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], told[1]);
    Ok(())
}

#[tokio::test]
async fn a_group_that_became_a_supergroup_is_followed() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan([Trouble::Moved { to: -100_123 }]);
    let bridge = it.bridge().await?;
    it.exhaust("one").await?;
    it.wait_until_all_is_told(0).await;
    it.exhaust("two").await?;
    it.wait_until_all_is_told(0).await;
    let received = it.telegram.received();
    let chats: Vec<&str> = received.iter().map(|it| it.chat.as_str()).collect();
    assert_eq!(chats, ["-100", "-100123", "-100123"]);
    assert!(bridge.is_ready().await);
    let (_, log) = bridge.stop().await;
    assert!(log.contains("change TELEGRAM_CHAT_ID"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_chat_that_is_sent_on_and_on_is_refused_at_last() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan((1..=4).map(|to| Trouble::Moved { to }));
    let _bridge = it.bridge().await?;
    it.exhaust("one").await?;
    it.wait_until_all_is_told(1).await;
    Ok(())
}

#[tokio::test]
async fn trouble_with_one_chat_repeats_nothing_in_another() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan([answer(500, "Internal Server Error")]);
    let url = it.telegram.url();
    let variables = [
        ("TELEGRAM_API_URL", url.as_str()),
        ("TELEGRAM_CHAT_ID", "-1, -2"),
    ];
    let _bridge = Bridge::start_with(&it.db.bridge_url("telegram"), &variables).await?;
    it.exhaust("model").await?;
    it.wait_until_all_is_told(0).await;
    let received = it.telegram.received();
    let told = received.iter().filter(|it| it.accepted.is_some());
    let mut chats: Vec<&str> = told.map(|it| it.chat.as_str()).collect();
    chats.sort_unstable();
    assert_eq!(chats, ["-1", "-2"]);
    assert_eq!(received.len(), 3);
    Ok(())
}
