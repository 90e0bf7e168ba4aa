//! People correct what was charged wrongly, and prices that are wrong.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{
    amount, audit, budget, charge, claim_funded, correct, costly_task, end_window, expire, hold_of,
    reserve, reserve_with, service, service_with, settle, standing, usd, used,
};
use crate::support::{Database, refusal, sqlstate};

/// `correct_charge` of a row of the ledger.
async fn correct_row(
    executor: impl PgExecutor<'_>,
    charge_id: Uuid,
    amount: &str,
    reason: &str,
) -> sqlx::Result<Value> {
    sqlx::query_scalar("select devart.correct_charge($1, $2::text::numeric, $3)")
        .bind(charge_id)
        .bind(amount)
        .bind(reason)
        .fetch_one(executor)
        .await
}

async fn only_charge(db: &Database) -> sqlx::Result<Uuid> {
    sqlx::query_scalar("select id from devart.charges where kind = 'settle'")
        .fetch_one(&db.owner)
        .await
}

#[tokio::test]
async fn a_correction_says_what_a_charge_came_to_however_often_it_is_said() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    charge(&db.owner, id, "4", None).await?;
    let row = only_charge(&db).await?;
    for (said, spent) in [
        ("2", "2"),
        ("2", "2"),
        ("9", "9"),
        ("0.0000001", "0.000001"),
    ] {
        let answer = correct_row(&db.owner, row, said, "invoice 17").await?;
        assert_eq!(amount(&answer, "amount_usd"), usd(spent), "{answer}");
        assert_eq!(standing(&db.owner, id).await?.spent_usd, usd(spent));
    }
    let rows: Vec<String> = sqlx::query_scalar(
        "select concat_ws(' ', kind, trim_scale(amount_usd), reason, corrects = $1)
         from devart.charges order by id",
    )
    .bind(row)
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(
        rows,
        [
            "settle 4",
            "adjustment -2 invoice 17 t",
            "adjustment 7 invoice 17 t",
            "adjustment -8.999999 invoice 17 t"
        ]
    );
    let audited: Vec<Value> = sqlx::query_scalar(
        "select jsonb_build_array(before -> 'amount_usd', after -> 'amount_usd', after -> 'reason')
         from devart.audit_log where table_name = 'charges' and row_id = $1::text order by id",
    )
    .bind(row)
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(audited.len(), 3, "{audited:?}");
    assert_eq!(audited[0][2], "invoice 17");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_wrongly_suspended_service_comes_back_and_who_waits_goes_on() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let hold = hold_of(&reserve(&db.owner, id, "1").await?);
    settle(&db.owner, hold, "1").await?;
    let second = hold_of(&reserve(&db.owner, id, "9").await?);
    settle(&db.owner, second, "9").await?;
    let task = costly_task(&db.owner, "waiting", id, "5").await?;
    assert!(claim_funded(&db.owner, agent.id, 1).await?.is_empty());
    let answer = correct(&db.owner, second, "2").await?;
    assert_eq!(
        (&answer["suspended"], amount(&answer, "remaining_usd")),
        (&json!(false), usd("7"))
    );
    assert_eq!(claim_funded(&db.owner, agent.id, 1).await?[0].task_id, task);
    let answer = correct(&db.owner, second, "12").await?;
    assert_eq!(answer["suspended"], true, "up as well");
    assert_eq!(standing(&db.owner, id).await?.status, "SUSPENDED");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_correction_goes_into_every_window_of_the_charge_open_or_closed() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let daily = json!({"name": "daily", "budget_usd": 10, "period": "day"});
    let id = service_with(&db.owner, daily).await?;
    let limit = budget(&db.owner, "agent", agent.id, "10").await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 4})).await?);
    settle(&mut session, hold, "4").await?;
    end_window(&db.owner, id).await?;
    charge(&db.owner, id, "1", None).await?;
    correct(&db.owner, hold, "3").await?;
    let closed: rust_decimal::Decimal =
        sqlx::query_scalar("select spent_usd from devart.budget_windows")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(closed, usd("3"));
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("1"));
    assert_eq!(used(&db.owner, limit).await?, (usd("3"), usd("0")));
    sqlx::query("select devart.delete_budget($1)")
        .bind(limit)
        .execute(&db.owner)
        .await?;
    correct(&db.owner, hold, "2").await?;
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_people_say_of_a_presumed_amount_stays_when_the_agent_comes_back() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let hold = hold_of(&reserve(&db.owner, id, "4").await?);
    expire(&db.owner, hold).await?;
    db.maintain().await?;
    correct(&db.owner, hold, "1").await?;
    for cost in ["3", "2"] {
        let late = settle(&db.owner, hold, cost).await?;
        assert_eq!(amount(&late, "charged_usd"), usd("1"));
        assert_eq!(
            (&late["late"], &late["presumed"]),
            (&json!(true), &json!(false))
        );
    }
    correct(&db.owner, hold, "2").await?;
    let late = settle(&db.owner, hold, "3").await?;
    assert_eq!(amount(&late, "charged_usd"), usd("2"));
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("2"));
    let settled = hold_of(&reserve(&db.owner, id, "4").await?);
    let first = settle(&db.owner, settled, "4").await?;
    correct(&db.owner, settled, "1").await?;
    assert_eq!(settle(&db.owner, settled, "4").await?, first, "replayed");
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("3"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_named() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let held = hold_of(&reserve(&db.owner, id, "1").await?);
    charge(&db.owner, id, "4", None).await?;
    let row = only_charge(&db).await?;
    for amount in [
        "NaN",
        "Infinity",
        "-Infinity",
        "-1",
        "1e12",
        "999999999999.9999999",
    ] {
        let refused = correct_row(&db.owner, row, amount, "r").await;
        assert_eq!(sqlstate(&refused), "22023", "{amount}");
        assert!(refusal(refused).starts_with("amount_usd"), "{amount}");
    }
    for reason in ["", "  ", &"r".repeat(1001)] {
        let refused = correct_row(&db.owner, row, "1", reason).await;
        assert!(refusal(refused).starts_with("reason"), "{reason:?}");
    }
    let unknown = correct_row(&db.owner, Uuid::now_v7(), "1", "r").await;
    assert_eq!(sqlstate(&unknown), "P0002");
    let not_spent = correct_row(&db.owner, held, "1", "r").await;
    assert_eq!(sqlstate(&not_spent), "55000");
    for role in ["viewer", "supervisor"] {
        let mut session = db.session_as(db.person(role).await?).await?;
        let refused = correct_row(&mut session, row, "1", "r").await;
        assert_eq!(sqlstate(&refused), "42501", "{role}");
    }
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("4"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn over_http_admins_correct_a_charge() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    charge(&db.owner, id, "4", None).await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("admin").await?);
    let path = format!("/api/charges/{}/correct", only_charge(&db).await?);
    let body = json!({"amount_usd": 2.5, "reason": "invoice 17"});
    let corrected = http.post(&path, body).await?.expect(200);
    assert_eq!(amount(&corrected, "before_usd"), usd("4"));
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("2.5"));
    for nonsense in [
        json!({"amount_usd": -1, "reason": "r"}),
        json!({"amount_usd": 1, "reason": ""}),
        json!({"amount_usd": 1}),
        json!({"reason": "r"}),
    ] {
        let refused = http.post(&path, nonsense.clone()).await?;
        assert!((400..500).contains(&refused.status), "{nonsense}");
    }
    let malformed = http.post("/api/charges/x/correct", json!({})).await?;
    assert_eq!(malformed.problem(400), "malformed_request");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_price_with_a_wrong_start_is_corrected_and_one_that_is_wrong_taken_back() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let set = async |price: &str, from: &str| -> sqlx::Result<Uuid> {
        sqlx::query_scalar(
            "select (devart.set_service_price($1, 'request', $2, now() + $3::text::interval)).id",
        )
        .bind(id)
        .bind(usd(price))
        .bind(from)
        .fetch_one(&db.owner)
        .await
    };
    let costs = async || -> Result<rust_decimal::Decimal> {
        let held = reserve_with(&db.owner, id, json!({"usage": {"request": 1}})).await?;
        Ok(match held["admitted"] == true {
            true => amount(&held, "held_usd"),
            false => usd("-1"),
        })
    };
    let run = async |sql: &'static str, price_id: Uuid| {
        sqlx::query(sql).bind(price_id).execute(&db.owner).await
    };
    let first = set("1", "-1 hour").await?;
    let late = set("2", "36 years").await?;
    assert_eq!(costs().await?, usd("1"));
    run(
        "select devart.correct_service_price($1, effective_from => now() - interval '1 minute')",
        late,
    )
    .await?;
    assert_eq!(costs().await?, usd("2"));
    run("select devart.correct_service_price($1, 0.5)", late).await?;
    assert_eq!(costs().await?, usd("0.5"));
    let too_early = run(
        "select devart.correct_service_price($1, effective_from => now() - interval '2 hours')",
        late,
    )
    .await;
    assert!(refusal(too_early).starts_with("effective_from"));
    run(
        "select devart.end_service_price($1, now() - interval '1 hour')",
        late,
    )
    .await?;
    assert_eq!(costs().await?, usd("1"), "the one before goes on");
    run("select devart.end_service_price($1)", first).await?;
    assert_eq!(costs().await?, usd("-1"), "an unknown price refuses");
    let gone = run("select devart.end_service_price($1)", late).await;
    assert_eq!(sqlstate(&gone), "P0002");
    let changes: i64 = sqlx::query_scalar(
        "select count(*) from devart.audit_log where table_name = 'service_prices'
         and action in ('update', 'delete')",
    )
    .fetch_one(&db.owner)
    .await?;
    assert!(changes >= 4, "{changes}");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_price_is_never_rounded_to_nothing() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let set = async |price: &str| {
        sqlx::query("select devart.set_service_price($1, 'token', $2::text::numeric)")
            .bind(id)
            .bind(price)
            .execute(&db.owner)
            .await
    };
    assert_eq!(sqlstate(&set("1e-13").await), "22023");
    assert_eq!(sqlstate(&set("0").await), "ok");
    Ok(())
}

#[tokio::test]
async fn over_http_admins_mend_prices() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let other = service(&db.owner, "other", "10").await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("admin").await?);
    let prices = format!("/api/services/{id}/prices");
    let wrong =
        json!({"unit": "request", "usd_per_unit": 2, "effective_from": "2900-01-01T00:00:00Z"});
    let price = http.post(&prices, wrong).await?.expect(201);
    let path = format!("{prices}/{}", price["id"].as_str().unwrap_or_default());
    let right = json!({"usd_per_unit": 0.5, "effective_from": "2020-01-01T00:00:00Z"});
    let corrected = http.put(&path, right.clone()).await?.expect(200);
    assert_eq!(amount(&corrected, "usd_per_unit"), usd("0.5"));
    let held = reserve_with(&db.owner, id, json!({"usage": {"request": 2}})).await?;
    assert_eq!(amount(&held, "held_usd"), usd("1"));
    let ended = http
        .post(&format!("{path}/end"), json!({}))
        .await?
        .expect(200);
    assert!(ended["effective_to"].is_string(), "{ended}");
    let of_other = path.replace(&id.to_string(), &other.to_string());
    assert_eq!(http.put(&of_other, right).await?.problem(404), "not_found");
    let nothing = http.put(&path, json!({})).await?;
    assert_eq!(nothing.problem(422), "invalid_argument");
    audit(&db.owner).await;
    Ok(())
}
