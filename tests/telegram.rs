//! Alerts of budgets, from the charge that causes them to a stand-in for Telegram, through the real bridge.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use devart_cli::ports;
use devart_cli::stand_in::telegram::{StandIn, Trouble};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::{audit, budget, charge, service, service_with};
use crate::support::outbox::{buried, count};
use crate::support::telegram::{Bridge, TOKEN};
use crate::support::tls::Tls;
use crate::support::wait::{eventually, within};

const SPECIAL: &str = r"_*[]()~`>#+-=|{}.!\ 50%, ü & <b>🙂</b>";

/// A database that writes alerts, and what stands in for Telegram.
struct Alerting {
    db: Database,
    telegram: StandIn,
}

impl Alerting {
    async fn start() -> Result<Self> {
        let db = Database::create().await?;
        db.set("outbox_topics", json!(["telegram.alert"])).await?;
        let telegram = StandIn::start().await?;
        Ok(Self { db, telegram })
    }

    async fn bridge(&self) -> Result<Bridge> {
        Bridge::start(&self.db.bridge_url("telegram"), &self.telegram.url()).await
    }

    /// A new service whose whole budget is charged at once, so that it is suspended.
    async fn exhaust(&self, name: &str) -> Result<Uuid> {
        let id = service(&self.db.owner, name, "10").await?;
        charge(&self.db.owner, id, "10", None).await?;
        Ok(id)
    }

    /// Waits until nothing waits any more, and so many alerts are buried.
    async fn wait_until_all_is_told(&self, buried: i64) {
        within(Duration::from_secs(60), "all alerts are told", async || {
            let all: (i64, i64) =
                sqlx::query_as("select count(*), count(buried_at) from devart_private.outbox")
                    .fetch_one(&self.db.owner)
                    .await
                    .ok()?;
            (all == (buried, buried)).then_some(())
        })
        .await;
    }
}

fn answer(status: u16, description: &str) -> Trouble {
    Trouble::Answer {
        status,
        description: description.to_owned(),
    }
}

#[tokio::test]
async fn a_crossed_threshold_arrives_in_words() -> Result<()> {
    let it = Alerting::start().await?;
    let _bridge = it.bridge().await?;
    let columns = json!({"name": "gpt-4.1_mini", "budget_usd": 10, "period": "month"});
    let id = service_with(&it.db.owner, columns).await?;
    charge(&it.db.owner, id, "8.5", None).await?;
    it.wait_until_all_is_told(0).await;
    let received = it.telegram.received();
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].token.as_str(), received[0].chat.as_str()),
        (TOKEN, "-100")
    );
    let text = received[0].accepted.as_deref().expect("accepted");
    let start = "⚠️ gpt-4.1_mini has spent 80 % of its budget\nspent 8.50 of 10.00 USD\nfrom ";
    assert!(text.starts_with(start), "{text}");
    assert!(
        received[0].markdown.contains(r"*gpt\-4\.1\_mini*"),
        "{received:?}"
    );
    audit(&it.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn names_arrive_as_they_are_whatever_they_contain() -> Result<()> {
    let it = Alerting::start().await?;
    let _bridge = it.bridge().await?;
    let substitute = service(&it.db.owner, &format!("2 {SPECIAL}"), "10").await?;
    let columns = json!({"name": SPECIAL, "budget_usd": 10, "substitute_service_id": substitute});
    let id = service_with(&it.db.owner, columns).await?;
    charge(&it.db.owner, id, "10", None).await?;
    it.wait_until_all_is_told(0).await;
    let told = it.telegram.accepted();
    let [text] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(
        text.starts_with(&format!("⛔ {SPECIAL} is suspended")),
        "{text}"
    );
    let end = format!("from now on 2 {SPECIAL} is charged instead");
    assert!(text.ends_with(&end), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_budget_of_another_scope_is_told_of_by_its_id() -> Result<()> {
    let it = Alerting::start().await?;
    let _bridge = it.bridge().await?;
    let (agent, id) = (
        it.db.agent(&[]).await?,
        service(&it.db.owner, "model", "100").await?,
    );
    budget(&it.db.owner, "agent", agent.id, "2").await?;
    let mut connection = it.db.session_as(agent.caller()).await?;
    charge(&mut connection, id, "2", None).await?;
    it.wait_until_all_is_told(0).await;
    let told = it.telegram.accepted();
    let start = format!(
        "⛔ The agent {} has used up its budget\nspent 2.00 of 2.00 USD\nsince ",
        agent.id
    );
    assert!(told[0].starts_with(&start), "{told:?}");
    Ok(())
}

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
    let _successor = it.bridge().await?;
    it.wait_until_all_is_told(0).await;
    let told = it.telegram.accepted();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], told[1]);
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
