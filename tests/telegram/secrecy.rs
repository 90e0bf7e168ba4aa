//! Who learns the bot's token: a trusted server, and nobody else.

use anyhow::Result;
use devart_cli::demo::telegram::Trouble;
use devart_cli::ports;

use super::{Alerting, answer};
use crate::support::outbox::buried;
use crate::support::telegram::{Bridge, TOKEN};
use crate::support::tls::Tls;
use crate::support::wait::eventually;

#[tokio::test]
async fn the_token_is_in_no_log_and_no_reason() -> Result<()> {
    let it = Alerting::start().await?;
    it.telegram.plan([
        Trouble::Dropped,
        answer(500, "Internal Server Error"),
        answer(404, "Not Found"),
    ]);
    let bridge = it.bridge().await?;
    it.exhaust("model").await?;
    it.wait_until_all_is_told(1).await;
    let (_, mut log) = bridge.stop().await;
    assert!(
        log.contains("retrying message") && log.contains("buried message"),
        "{log}"
    );
    let nobody = format!("http://127.0.0.1:{}", ports::any_free()?);
    let bridge = Bridge::start(&it.db.bridge_url("telegram"), &nobody).await?;
    it.exhaust("lost").await?;
    let reason: String = eventually("Telegram is not there", async || {
        sqlx::query_scalar(
            "select last_error from devart_private.outbox where buried_at is null and attempt > 0",
        )
        .fetch_optional(&it.db.owner)
        .await
        .ok()?
    })
    .await;
    assert!(reason.contains("Telegram cannot be reached"), "{reason}");
    assert!(!bridge.is_ready().await);
    log.push_str(&bridge.kill());
    for secret in [TOKEN, "token-of-the-tests"] {
        assert!(!log.contains(secret), "the log has the token");
        assert!(!reason.contains(secret), "{reason}");
        assert!(!buried(&it.db.owner).await?[0].last_error.contains(secret));
    }
    Ok(())
}

#[tokio::test]
async fn over_https_only_a_trusted_server_gets_the_token() -> Result<()> {
    let it = Alerting::start().await?;
    let tls = Tls::before(it.telegram.address())?;
    let (url, authority) = (tls.url(), tls.authority());
    let database = it.db.bridge_url("telegram");
    it.exhaust("model").await?;
    let strangers = [("TELEGRAM_API_URL", url.as_str())];
    let suspicious = Bridge::start_with(&database, &strangers).await?;
    let reason: String = eventually("the server is not trusted", async || {
        sqlx::query_scalar("select last_error from devart_private.outbox where attempt > 0")
            .fetch_optional(&it.db.owner)
            .await
            .ok()?
    })
    .await;
    assert!(reason.contains("certificate"), "{reason}");
    suspicious.kill();
    assert!(it.telegram.received().is_empty());
    let trusted = [strangers[0], ("SSL_CERT_FILE", authority.as_str())];
    let _bridge = Bridge::start_with(&database, &trusted).await?;
    it.wait_until_all_is_told(0).await;
    assert_eq!(it.telegram.accepted().len(), 1);
    Ok(())
}
