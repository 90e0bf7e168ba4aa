//! What people read.

use anyhow::Result;
use serde_json::json;

use super::Alerting;
use crate::support::budget::{audit, budget, charge, service, service_with};
use crate::support::telegram::TOKEN;

const SPECIAL: &str = r"_*[]()~`>#+-=|{}.!\ 50%, ü & <b>🙂</b>";

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
async fn a_stop_is_told_in_words_whatever_its_reason() -> Result<()> {
    let it = Alerting::start().await?;
    let _bridge = it.bridge().await?;
    let agent = it.db.agent(&[]).await?;
    sqlx::query("select devart.pause('agent', $1, $2)")
        .bind(agent.id)
        .bind(SPECIAL)
        .execute(&it.db.owner)
        .await?;
    it.wait_until_all_is_told(0).await;
    let told = it.telegram.accepted();
    let [text] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(text.starts_with("⛔ The agent "), "{text}");
    let end = format!("\n{SPECIAL}\nwhat is in hand may end; nothing else begins");
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
