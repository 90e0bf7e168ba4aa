//! A database connection that falls silent: nobody closed it, and nothing comes.

use std::time::Duration;

use anyhow::Result;

use super::{database, is_empty, url};
use crate::chaos::network::{Network, State};
use crate::support::http::Http;
use crate::support::outbox::{Sidecar, enqueue};
use crate::support::wait::{eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_noticed_said_and_left() -> Result<()> {
    let db = database().await?;
    let mut network = Network::new();
    let target = db.cluster().port();
    let port = network.lead_to(target).await?;
    let through = url(&db).replace(&format!(":{target}/"), &format!(":{port}/"));
    let sidecar = Sidecar::start(&through, &[("DATABASE_STATEMENT_TIMEOUT_MS", "10000")])?;
    let http = Http::new(sidecar.url.clone());
    eventually("the sidecar is ready", async || {
        (http.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await;
    enqueue(&db.owner, None, 1, 1).await?;
    is_empty(&db.owner).await;
    // What is connected now never hears of anything again; what connects later does.
    network.set(State::Silent);
    let mut said = String::new();
    within(Duration::from_secs(60), "it says so", async || {
        said = http.get("/readyz").await.ok()?.text;
        said.contains("not ready").then_some(())
    })
    .await;
    network.set(State::Whole);
    enqueue(&db.owner, None, 2, 3).await?;
    within(
        Duration::from_secs(60),
        "all is delivered again",
        async || {
            let left: i64 = sqlx::query_scalar("select count(*) from devart_private.outbox")
                .fetch_one(&db.owner)
                .await
                .ok()?;
            (left == 0).then_some(())
        },
    )
    .await;
    eventually("the sidecar is ready again", async || {
        (http.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await;
    assert!(sidecar.stop().await.success());
    Ok(())
}
