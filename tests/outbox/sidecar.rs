//! A bridge as a process: its topic, its health and metrics, and its end.

use anyhow::Result;

use super::{database, is_empty, url, work};
use crate::support::http::Http;
use crate::support::outbox::{Script, Sidecar, TOPIC, Worker, enqueue, quick};
use crate::support::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_bridges_topic_ends_and_says_why() -> Result<()> {
    let db = database().await?;
    // The API's login is nobody's bridge, and has not even the functions.
    let worker = Worker::start(&db.authenticator_url(), Script::new(work), quick())?;
    let error = worker.end().await.expect_err("it may not");
    let text = format!("{error:#}");
    assert!(
        text.contains(TOPIC) && text.contains("permission denied"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_tells_its_health_and_metrics_and_stops_when_asked() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 3).await?;
    let sidecar = Sidecar::start(&url(&db), &[])?;
    let http = Http::new(sidecar.url.clone());
    eventually("the sidecar is ready", async || {
        (http.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await;
    is_empty(&db.owner).await;
    assert_eq!(http.get("/healthz").await?.status, 200);
    let delivered = format!("devart_outbox_delivered_total{{topic=\"{TOPIC}\"}} 3");
    let metrics = eventually("the deliveries are counted", async || {
        let text = http.get("/metrics").await.ok()?.text;
        text.contains(&delivered).then_some(text)
    })
    .await;
    for name in [
        "devart_outbox_depth",
        "devart_outbox_oldest_seconds",
        "devart_outbox_handle_duration_seconds_bucket",
        "devart_outbox_delivery_duration_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    assert!(sidecar.stop().await.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_whose_log_nobody_reads_stops_when_asked() -> Result<()> {
    let db = database().await?;
    let mut sidecar = Sidecar::start(&url(&db), &[])?;
    let http = Http::new(sidecar.url.clone());
    eventually("the sidecar is ready", async || {
        (http.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await;
    sidecar.break_log_pipe();
    assert!(sidecar.stop().await.success());
    Ok(())
}
