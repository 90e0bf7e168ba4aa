//! Grafana's dashboards: each query works as the role that Grafana uses, and shows what it says.

mod metrics;
mod panels;
mod permissions;
mod provisioning;

use anyhow::{Context, Result};
use serde_json::json;

use crate::support::Database;
use crate::support::budget::{budget, charge, service_with};
use crate::support::queue::{claim, complete, create, fail};

/// Two finished tasks that cost a dollar, a failed one, one in work, three that wait; money spent without a task.
async fn world() -> Result<Database> {
    let db = Database::create().await?;
    let (agent, _other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let limited = json!({"name": "limited", "budget_usd": 10, "period": "day"});
    let limited = service_with(&db.owner, limited).await?;
    let unlimited = service_with(&db.owner, json!({"name": "unlimited"})).await?;
    budget(&db.owner, "agent", agent.id, "5").await?;
    for (service, dollars) in [(limited, "0.75"), (unlimited, "0.25")] {
        create(&db.owner, json!({"title": "t", "payload": {"secret": 1}})).await?;
        let claim = claim(&db.owner, agent.id).await?.context("a task")?;
        let mut session = db.session_as(agent.caller()).await?;
        sqlx::query("select devart.charge_service($1, $2::text::numeric, $3)")
            .bind(service)
            .bind(dollars)
            .bind(claim.task_id)
            .execute(&mut session)
            .await?;
        complete(&db.owner, &claim).await?;
    }
    charge(&db.owner, limited, "0.5", None).await?;
    create(&db.owner, json!({"title": "fails"})).await?;
    let failing = claim(&db.owner, agent.id).await?.context("a task")?;
    fail(&db.owner, &failing, false).await?;
    for priority in ["CRITICAL", "HIGH", "HIGH", "LOW"] {
        create(&db.owner, json!({"title": "t", "priority": priority})).await?;
    }
    claim(&db.owner, agent.id).await?.context("a task")?;
    Ok(db)
}
