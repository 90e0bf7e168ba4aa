//! What one caller takes of the database, others do not miss.

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::json;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::queue::create;
use crate::support::wait::eventually;

/// Searches that take until somebody ends them.
const ENDLESS: &str = "
    create or replace function devart_private.like_pattern(p_words text)
    returns text language plpgsql as $$
    begin
        perform pg_sleep(600);
        return '';
    end
    $$";

#[tokio::test]
async fn searches_without_end_leave_claims_and_lists_alone_and_are_ended() -> Result<()> {
    let db = Database::create().await?;
    let settings = [
        ("API_SEARCH_TIMEOUT_MS", "2000"),
        ("API_REQUESTS_AT_ONCE_PER_PERSON", "30"),
    ];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    // Something to search in.
    create(&db.owner, json!({"title": "t"})).await?;
    sqlx::raw_sql(ENDLESS).execute(&db.owner).await?;
    let viewer = api.client(db.person("viewer").await?);
    let searches: Vec<_> = (0..30)
        .map(|_| {
            let viewer = viewer.clone();
            tokio::spawn(async move { viewer.get("/api/tasks?q=nothing").await })
        })
        .collect();
    eventually("a search is under way", async || {
        (under_way(&db).await.ok()? > 0).then_some(())
    })
    .await;
    let agent = api.agent(&db.agent(&[]).await?);
    agent.post("/api/tasks/claim", json!({})).await?.expect(200);
    let other = api.client(db.person("viewer").await?);
    other
        .get("/api/tasks?status=IN_PROGRESS")
        .await?
        .expect(200);
    assert!(
        under_way(&db).await? <= 1,
        "one search of a person at a time"
    );
    for search in searches {
        let answer = search.await??;
        match answer.status {
            429 => assert_eq!(answer.problem(429), "rate_limited"),
            _ => assert_eq!(answer.problem(503), "unavailable"),
        }
    }
    Ok(())
}

async fn under_way(db: &Database) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database()
           and usename = 'authenticator' and wait_event = 'PgSleep'",
    )
    .fetch_one(&db.owner)
    .await?)
}

#[tokio::test]
async fn a_person_who_asks_for_much_at_once_waits_for_turns_and_others_do_not() -> Result<()> {
    let db = Database::create().await?;
    let settings = [
        ("DATABASE_MAX_CONNECTIONS", "2"),
        ("API_REQUESTS_AT_ONCE_PER_PERSON", "1"),
        ("API_MAINTAIN_INTERVAL_MS", "0"),
    ];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    let mut lock = db.owner.begin().await?;
    sqlx::query("lock table devart.system_settings")
        .execute(&mut *lock)
        .await?;
    let busy = api.client(db.person("viewer").await?);
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let busy = busy.clone();
            tokio::spawn(async move { busy.get("/api/settings").await })
        })
        .collect();
    eventually("the first waits for the lock", async || {
        let blocked: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database()
               and wait_event_type = 'Lock'",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        (blocked > 0).then_some(())
    })
    .await;
    let other = api.client(db.person("viewer").await?);
    let others = (0..5).map(|_| other.get("/api/tasks"));
    for answer in try_join_all(others).await? {
        answer.expect(200);
    }
    lock.rollback().await?;
    for answer in waiting {
        answer.await??.expect(200);
    }
    Ok(())
}

#[tokio::test]
async fn attempts_to_log_in_are_limited_by_account() -> Result<()> {
    let db = Database::create().await?;
    let settings = [("API_LOGIN_LIMIT_PER_ACCOUNT", "2")];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    let attempt = async |email: &str| {
        let body = json!({"email": email, "password": "wrong"});
        let path = "/auth/v1/token?grant_type=password";
        anyhow::Ok(api.anonymous.post(path, body).await?.status)
    };
    assert_eq!(attempt("ada@example.org").await?, 400);
    assert_eq!(attempt("ada@example.org").await?, 400);
    assert_eq!(attempt("Ada@Example.org ").await?, 429);
    assert_eq!(attempt("eve@example.org").await?, 400);
    Ok(())
}

#[tokio::test]
async fn each_login_has_a_limit_on_its_connections() -> Result<()> {
    let db = Database::create().await?;
    let without: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles
         where rolcanlogin and not rolsuper and rolconnlimit = -1
           and (rolname = 'authenticator' or rolname ^@ 'devart_')",
    )
    .fetch_all(&db.owner)
    .await?;
    assert!(without.is_empty(), "{without:?}");
    Ok(())
}

#[tokio::test]
async fn an_agent_with_many_slow_calls_waits_for_turns_and_other_agents_do_not() -> Result<()> {
    let db = Database::create().await?;
    let settings = [
        ("DATABASE_MAX_CONNECTIONS", "4"),
        ("API_MAINTAIN_INTERVAL_MS", "0"),
    ];
    let api = Api::start_with(&db.authenticator_url(), &settings).await?;
    let (busy, quiet) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let mut lock = db.owner.begin().await?;
    sqlx::query("select from devart.agents where id = $1 for update")
        .bind(busy.id)
        .execute(&mut *lock)
        .await?;
    let client = api.agent(&busy);
    let waiting: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.put("/api/agents/heartbeat", json!({})).await })
        })
        .collect();
    eventually("half of the connections wait for the lock", async || {
        (blocked(&db).await.ok()? >= 2).then_some(())
    })
    .await;
    let quiet = api.agent(&quiet);
    let others = (0..5).map(|_| quiet.put("/api/agents/heartbeat", json!({})));
    for answer in try_join_all(others).await? {
        answer.expect(200);
    }
    assert_eq!(blocked(&db).await?, 2);
    lock.rollback().await?;
    for answer in waiting {
        // 429: for those who waited for too long, if this machine was busy.
        let status = answer.await??.status;
        assert!([200, 429].contains(&status), "{status}");
    }
    Ok(())
}

async fn blocked(db: &Database) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database()
           and usename = 'authenticator' and wait_event_type = 'Lock'",
    )
    .fetch_one(&db.owner)
    .await?)
}
