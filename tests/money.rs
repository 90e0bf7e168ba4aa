//! `charge_service`: refusals are answers, limits hold, substitutes stand in, the ledger adds up.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::support::budget::{alerts, amount, audit, charge, service, service_with, standing, usd};
use crate::support::queue::{claim, create};
use crate::support::{Database, sqlstate};

#[tokio::test]
async fn a_charge_above_the_limit_is_refused_and_one_that_reaches_it_suspends() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1").await?;
    let refused = charge(&db.owner, id, "1.000001", None).await?;
    assert_eq!(
        (&refused["success"], &refused["reason"]),
        (&json!(false), &json!("budget exceeded"))
    );
    let last = charge(&db.owner, id, "1", None).await?;
    assert_eq!(
        (&last["success"], &last["suspended"]),
        (&json!(true), &json!(true))
    );
    let after = charge(&db.owner, id, "0.000001", None).await?;
    assert_eq!(after["reason"], "service is suspended");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_suspension_writes_an_alert_for_a_topic_that_somebody_delivers() -> Result<()> {
    let db = Database::create().await?;
    for (topics, count) in [(json!([]), 0), (json!(["telegram.alert"]), 1)] {
        db.set("outbox_topics", topics).await?;
        let id = service(&db.owner, &format!("model {count}"), "1").await?;
        charge(&db.owner, id, "1", None).await?;
        assert_eq!(alerts(&db.owner).await?.len(), count);
    }
    assert_eq!(alerts(&db.owner).await?[0]["kind"], "service_suspended");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_suspended_service_hands_over_to_its_substitute_and_says_so() -> Result<()> {
    let db = Database::create().await?;
    let cheap = service(&db.owner, "cheap", "5").await?;
    let columns = json!({"name": "dear", "budget_usd": 1, "substitute_service_id": cheap});
    let dear = service_with(&db.owner, columns).await?;
    charge(&db.owner, dear, "1", None).await?;
    let delegated = charge(&db.owner, dear, "2", None).await?;
    assert_eq!(
        (&delegated["delegated"], &delegated["charged_service_id"]),
        (&json!(true), &json!(cheap))
    );
    assert_eq!(delegated["reason"], "service is suspended");
    let from: Option<Uuid> =
        sqlx::query_scalar("select delegated_from from devart.charges where service_id = $1")
            .bind(cheap)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(from, Some(dear));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_chain_passes_over_what_cannot_pay_and_refuses_when_nobody_can() -> Result<()> {
    let db = Database::create().await?;
    let mut next = None;
    let mut ids = Vec::new();
    for (name, limit) in [("last", 9), ("disabled", 9), ("exhausted", 1), ("first", 1)] {
        let columns = json!({"name": name, "budget_usd": limit, "substitute_service_id": next});
        next = Some(service_with(&db.owner, columns).await?);
        ids.extend(next);
    }
    let (last, disabled, first) = (ids[0], ids[1], ids[3]);
    sqlx::query("update devart.service_registry set status = 'DISABLED' where id = $1")
        .bind(disabled)
        .execute(&db.owner)
        .await?;
    let billed = charge(&db.owner, first, "2", None).await?;
    assert_eq!(
        (&billed["charged_service_id"], &billed["reason"]),
        (&json!(last), &json!("budget exceeded"))
    );
    let refused = charge(&db.owner, first, "8", None).await?;
    assert_eq!(
        (&refused["success"], amount(&refused, "remaining_usd")),
        (&json!(false), usd("7")),
        "the most that anybody in the chain could pay"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn chains_never_lead_back_and_have_at_most_five_substitutes_above_and_below() -> Result<()> {
    let db = Database::create().await?;
    let mut ids: Vec<Uuid> = Vec::new();
    for n in 0..6 {
        let columns = json!({"name": n.to_string(), "substitute_service_id": ids.last()});
        ids.push(service_with(&db.owner, columns).await?);
    }
    let lead = async |from: Uuid, to: Uuid| {
        sqlx::query("update devart.service_registry set substitute_service_id = $2 where id = $1")
            .bind(from)
            .bind(to)
            .execute(&db.owner)
            .await
    };
    assert_eq!(sqlstate(&lead(ids[0], ids[5]).await), "22023", "a circle");
    let seventh = json!({"name": "above", "substitute_service_id": ids[5]});
    let above = service_with(&db.owner, seventh).await;
    assert_eq!(sqlstate(&above), "22023", "one too many at the top");
    let below = service(&db.owner, "below", "1").await?;
    assert_eq!(
        sqlstate(&lead(ids[0], below).await),
        "22023",
        "one too many at the bottom"
    );
    Ok(())
}

#[tokio::test]
async fn one_key_charges_once_however_often_it_is_sent() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "100").await?;
    let answers =
        futures::future::try_join_all((0..100).map(|_| charge(&db.owner, id, "3", Some("k"))))
            .await?;
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(answers[0]["success"], true);
    let other = charge(&db.owner, id, "4", Some("k")).await;
    assert_eq!(sqlstate(&other), "23505");
    assert_eq!(standing(&db.owner, id).await?.spent_usd, 3.into());
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_refusal_does_not_use_up_its_key() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1").await?;
    let refused = charge(&db.owner, id, "2", Some("k")).await?;
    assert_eq!(refused["success"], false);
    sqlx::query("select devart.increase_budget($1, 1)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    let charged = charge(&db.owner, id, "2", Some("k")).await?;
    assert_eq!(charged["success"], true);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_agent_charges_only_for_a_task_it_works_on() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let service_id = service(&db.owner, "model", "10").await?;
    let task_id = create(&db.owner, json!({"title": "t"})).await?;
    claim(&db.owner, agent.id).await?;
    for (caller, outcome) in [(agent.caller(), "ok"), (other.caller(), "42501")] {
        let charged = sqlx::query("select devart.charge_service($1, 1, $2)")
            .bind(service_id)
            .bind(task_id)
            .execute(&mut db.session_as(caller).await?)
            .await;
        assert_eq!(sqlstate(&charged), outcome);
    }
    let (agent_id, attempt): (Uuid, i32) =
        sqlx::query_as("select agent_id, attempt from devart.charges")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(
        (agent_id, attempt),
        (agent.id, 1),
        "cost is known per attempt"
    );
    for amount in ["-1", "1000000000000", "NaN", "Infinity"] {
        let refused = sqlx::query("select devart.charge_service($1, $2::text::numeric)")
            .bind(service_id)
            .bind(amount)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&refused), "22023", "{amount}");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_soft_limit_alerts_and_refuses_nothing() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let columns = json!({"name": "soft", "budget_usd": 1, "hard_limit": false});
    let id = service_with(&db.owner, columns).await?;
    let charged = charge(&db.owner, id, "3", None).await?;
    assert_eq!(
        (&charged["success"], &charged["suspended"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(charged["remaining_usd"], json!(null), "nothing refuses");
    let told = alerts(&db.owner).await?;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["kind"], &told[0]["threshold_percent"]),
        (&json!("budget_threshold"), &json!(100))
    );
    audit(&db.owner).await;
    Ok(())
}
