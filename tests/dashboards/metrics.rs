//! The panels of operations and the metrics that running parts show.

use std::collections::BTreeSet;

use anyhow::Result;
use devart_cli::demo::telegram::StandIn;
use serde_json::json;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::budget::{charge, service};
use crate::support::grafana::{Dashboard, text};
use crate::support::promql::{Series, emitted, labels_of, metrics_of, shown};
use crate::support::telegram::Bridge;
use crate::support::wait::eventually;

/// What did not happen to the processes that the test looks at, so that they show no series of it.
const NOT_PROVOKED: &[&str] = &[
    "devart_outbox_buried_total",
    "devart_outbox_retried_total",
    "devart_rabbitmq_connected",
    "devart_rabbitmq_connection_failures_total",
];

#[test]
fn every_metric_of_operations_is_one_that_the_code_emits() -> Result<()> {
    let emitted = emitted()?;
    for query in Dashboard::named("operations.json")?.queries() {
        let metrics = metrics_of(text(&query.target["expr"]));
        assert!(!metrics.is_empty(), "{} names no metric", query.panel);
        for metric in metrics {
            assert!(emitted.contains(&metric), "{}: {metric}", query.panel);
        }
    }
    Ok(())
}

/// What an API and a bridge show after an answer and an alert.
async fn scrape() -> Result<Series> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let api = Api::start(&db).await?;
    api.anonymous.get("/api/tasks").await?;
    let telegram = StandIn::start().await?;
    let bridge = Bridge::start(&db.bridge_url("telegram"), &telegram.url()).await?;
    let service = service(&db.owner, "model", "1").await?;
    charge(&db.owner, service, "1", None).await?;
    let mut series = eventually("the bridge shows its delivery and the outbox", async || {
        let series = shown(&bridge.metrics().await.ok()?);
        ["devart_outbox_delivered_total", "devart_outbox_depth"]
            .iter()
            .all(|name| series.contains_key(*name))
            .then_some(series)
    })
    .await;
    series.extend(shown(&api.anonymous.get("/metrics").await?.text));
    Ok(series)
}

#[tokio::test]
async fn running_parts_show_the_series_and_labels_that_operations_asks_for() -> Result<()> {
    let series = scrape().await?;
    let mut missing = BTreeSet::new();
    for query in Dashboard::named("operations.json")?.queries() {
        let expression = text(&query.target["expr"]);
        for metric in metrics_of(expression) {
            let Some(labels) = series.get(&metric) else {
                missing.insert(metric);
                continue;
            };
            for label in labels_of(expression) {
                // Prometheus itself says which process it asked.
                let is_known = label == "instance" || labels.contains(&label);
                assert!(is_known, "{}: {metric} has no {label}", query.panel);
            }
        }
    }
    let expected = NOT_PROVOKED.iter().map(|name| (*name).to_owned());
    assert_eq!(missing, expected.collect());
    Ok(())
}
