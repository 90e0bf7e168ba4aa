//! Windows follow the local calendar, open by themselves, and alert once each.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::budget::{
    alerts, amount, audit, charge, end_window, hold_of, reserve, service, service_with, settle,
    standing, usd,
};
use crate::support::{Database, sqlstate};

/// The window of a moment, as UTC.
async fn window(db: &Database, period: &str, zone: &str, at: &str) -> sqlx::Result<String> {
    sqlx::query_scalar(
        "select to_char(window_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' ' ||
            to_char(window_end at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
         from devart_private.budget_window($1::devart.budget_period, $2, $3::text::timestamptz)",
    )
    .bind(period)
    .bind(zone)
    .bind(at)
    .fetch_one(&db.owner)
    .await
}

#[tokio::test]
async fn windows_follow_the_local_calendar_over_clock_changes_and_month_ends() -> Result<()> {
    let db = Database::create().await?;
    for (period, zone, at, expected) in [
        // 23 hours in spring, 25 in autumn.
        (
            "day",
            "Europe/Berlin",
            "2024-03-31 12:00Z",
            "2024-03-30 23:00 2024-03-31 22:00",
        ),
        (
            "day",
            "Europe/Berlin",
            "2024-10-27 12:00Z",
            "2024-10-26 22:00 2024-10-27 23:00",
        ),
        // The local day is not the day in UTC.
        (
            "day",
            "Pacific/Auckland",
            "2024-01-01 11:30Z",
            "2024-01-01 11:00 2024-01-02 11:00",
        ),
        // A week that begins on a Monday and contains the change.
        (
            "week",
            "Europe/Berlin",
            "2024-03-31 12:00Z",
            "2024-03-24 23:00 2024-03-31 22:00",
        ),
        (
            "month",
            "America/New_York",
            "2024-03-15 00:00Z",
            "2024-03-01 05:00 2024-04-01 04:00",
        ),
        (
            "month",
            "UTC",
            "2024-02-29 23:59Z",
            "2024-02-01 00:00 2024-03-01 00:00",
        ),
        (
            "month",
            "UTC",
            "2023-12-31 23:59Z",
            "2023-12-01 00:00 2024-01-01 00:00",
        ),
        // Midnight does not exist on this day: it begins at one.
        (
            "day",
            "Asia/Beirut",
            "2024-03-31 12:00Z",
            "2024-03-30 22:00 2024-03-31 21:00",
        ),
        // Midnight comes twice: until the second time it is the day before.
        (
            "day",
            "America/Havana",
            "2024-11-03 04:30Z",
            "2024-11-02 04:00 2024-11-03 05:00",
        ),
        (
            "day",
            "America/Havana",
            "2024-11-03 05:30Z",
            "2024-11-03 05:00 2024-11-04 05:00",
        ),
    ] {
        assert_eq!(
            window(&db, period, zone, at).await?,
            expected,
            "{period} {zone} {at}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn windows_leave_no_gap_and_never_overlap() -> Result<()> {
    let db = Database::create().await?;
    let broken: Vec<Value> = sqlx::query_scalar(
        "select to_jsonb(x) from (
            select z.zone, p.period, t.at, w.window_start, w.window_end, n.window_start as next_start
            from unnest('{Europe/Berlin,America/Havana,Asia/Beirut,Australia/Lord_Howe,America/Santiago}'::text[]) z (zone),
                unnest('{day,week,month}'::devart.budget_period[]) p (period),
                generate_series('2024-01-01'::timestamptz, '2024-12-31', '1 hour') t (at),
                devart_private.budget_window(p.period, z.zone, t.at) w,
                devart_private.budget_window(p.period, z.zone, w.window_end) n
            where not (w.window_start <= t.at and t.at < w.window_end and n.window_start = w.window_end)
            limit 5) x",
    )
    .fetch_all(&db.owner)
    .await?;
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[tokio::test]
async fn the_first_charge_after_a_windows_end_opens_the_next_and_ends_a_suspension() -> Result<()> {
    let db = Database::create().await?;
    let columns =
        json!({"name": "daily", "budget_usd": 5, "period": "day", "time_zone": "Asia/Kathmandu"});
    let id = service_with(&db.owner, columns).await?;
    charge(&db.owner, id, "5", None).await?;
    assert_eq!(standing(&db.owner, id).await?.status, "SUSPENDED");
    end_window(&db.owner, id).await?;
    let charged = charge(&db.owner, id, "1", None).await?;
    assert_eq!(amount(&charged, "spent_usd"), usd("1"));
    assert_eq!(standing(&db.owner, id).await?.status, "ACTIVE");
    let kept: Vec<rust_decimal::Decimal> =
        sqlx::query_scalar("select spent_usd from devart.budget_windows")
            .fetch_all(&db.owner)
            .await?;
    assert_eq!(kept, [usd("5")], "the closed window is kept");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_hold_settles_into_the_window_that_admitted_it_also_when_that_is_closed() -> Result<()> {
    let db = Database::create().await?;
    let columns = json!({"name": "daily", "budget_usd": 5, "period": "day"});
    let id = service_with(&db.owner, columns).await?;
    let (early, late) = (
        hold_of(&reserve(&db.owner, id, "3").await?),
        hold_of(&reserve(&db.owner, id, "2").await?),
    );
    end_window(&db.owner, id).await?;
    settle(&db.owner, early, "1").await?;
    charge(&db.owner, id, "4", None).await?;
    settle(&db.owner, late, "2.5").await?;
    let now = standing(&db.owner, id).await?;
    assert_eq!((now.spent_usd, now.held_usd), (usd("4"), usd("0")));
    let closed: (rust_decimal::Decimal, rust_decimal::Decimal) =
        sqlx::query_as("select spent_usd, held_usd from devart.budget_windows")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(closed, (usd("3.5"), usd("0")));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn each_threshold_alerts_once_per_window_in_the_charge_that_crosses_it() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let columns = json!({"name": "model", "budget_usd": 10, "period": "month"});
    let id = service_with(&db.owner, columns).await?;
    let mut told = Vec::new();
    for cents in ["4.999999", "0.000001", "1", "2", "1", "1"] {
        charge(&db.owner, id, cents, None).await?;
        told.push(alerts(&db.owner).await?.len());
    }
    assert_eq!(told, [0, 1, 1, 2, 2, 3]);
    end_window(&db.owner, id).await?;
    charge(&db.owner, id, "8", None).await?;
    let all = alerts(&db.owner).await?;
    let seen: Vec<(&str, i64)> = all
        .iter()
        .map(|alert| {
            (
                alert["kind"].as_str().unwrap_or_default(),
                alert["threshold_percent"].as_i64().unwrap_or_default(),
            )
        })
        .collect();
    let threshold = "budget_threshold";
    assert_eq!(
        seen,
        [
            (threshold, 50),
            (threshold, 80),
            ("service_suspended", 100),
            (threshold, 80)
        ],
        "what is crossed at once is told at once"
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_costs_nothing_crosses_no_limit_even_of_nothing() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let id = service(&db.owner, "model", "0").await?;
    let hold = hold_of(&reserve(&db.owner, id, "0").await?);
    charge(&db.owner, id, "0", None).await?;
    settle(&db.owner, hold, "0").await?;
    assert_eq!(standing(&db.owner, id).await?.status, "ACTIVE");
    assert!(alerts(&db.owner).await?.is_empty());
    let hold = hold_of(&reserve(&db.owner, id, "0").await?);
    settle(&db.owner, hold, "0.000001").await?;
    assert_eq!(standing(&db.owner, id).await?.status, "SUSPENDED");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_settlement_crosses_thresholds_as_a_charge_does() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let columns = json!({"name": "model", "budget_usd": 10, "alert_thresholds": [90, 10]});
    let id = service_with(&db.owner, columns).await?;
    let hold = hold_of(&reserve(&db.owner, id, "9.5").await?);
    assert!(alerts(&db.owner).await?.is_empty(), "held is not spent");
    settle(&db.owner, hold, "9.5").await?;
    assert_eq!(alerts(&db.owner).await?[0]["threshold_percent"], 90);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn raising_the_budget_reactivates_and_lowering_it_suspends() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    charge(&db.owner, id, "10", None).await?;
    let increase = async |arguments: &str| {
        let sql = format!("select (devart.increase_budget('{id}', {arguments})).status::text");
        sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
            .fetch_one(&db.owner)
            .await
    };
    assert_eq!(increase("amount_usd => 5").await?, "ACTIVE");
    assert_eq!(increase("budget_usd => 20").await?, "ACTIVE");
    assert_eq!(standing(&db.owner, id).await?.budget_usd, Some(usd("20")));
    for nonsense in [
        "",
        "amount_usd => 1, budget_usd => 30",
        "amount_usd => 0",
        "amount_usd => -1",
        "budget_usd => 19",
    ] {
        let arguments = if nonsense.is_empty() {
            "null"
        } else {
            nonsense
        };
        assert_eq!(sqlstate(&increase(arguments).await), "22023", "{nonsense}");
    }
    sqlx::query("select devart.update_service($1, '{\"budget_usd\": 9}')")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert_eq!(standing(&db.owner, id).await?.status, "SUSPENDED");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn another_period_begins_a_new_window_and_open_holds_settle_into_the_old() -> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    charge(&db.owner, id, "3", None).await?;
    let hold = hold_of(&reserve(&db.owner, id, "2").await?);
    sqlx::query("select devart.update_service($1, '{\"period\": \"week\", \"time_zone\": \"Europe/Berlin\"}')")
        .bind(id)
        .execute(&db.owner)
        .await?;
    settle(&db.owner, hold, "2").await?;
    let now = standing(&db.owner, id).await?;
    assert_eq!((now.spent_usd, now.held_usd), (usd("0"), usd("0")));
    let nowhere =
        sqlx::query("select devart.update_service($1, '{\"time_zone\": \"Mars/Olympus\"}')")
            .bind(id)
            .execute(&db.owner)
            .await;
    assert_eq!(sqlstate(&nowhere), "22023");
    audit(&db.owner).await;
    Ok(())
}
