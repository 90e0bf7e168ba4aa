//! What Grafana cannot read or write.

use anyhow::Result;
use sqlx::{Connection, PgConnection};

use super::world;
use crate::support::{run_sql, sqlstate};

/// What Grafana must not do, beyond what the table of `privileges` has.
const FORBIDDEN: &[&str] = &[
    "select * from devart.tasks",
    "select title from devart.tasks",
    "select description from devart.tasks",
    "select payload from devart.tasks",
    "select result from devart.tasks",
    "select last_error from devart.tasks",
    "select lease_token from devart.tasks",
    "select name from devart.agents",
    "select detail from devart.agents",
    "select usage from devart.charges",
    "select idempotency_key from devart.charges",
    "select from devart.task_events",
    "select from devart.system_settings",
    "select from devart_private.outbox",
    "select from devart_private.agent_api_keys",
    "select from devart_private.idempotency",
    "select from auth.users",
    "insert into devart.tasks (title) values ('t')",
    "update devart.tasks set priority = 'LOW'",
    "update devart.service_registry set budget_usd = 1000000",
    "delete from devart.charges",
    "truncate devart.charges",
    "create table devart.t ()",
    "create table public.t ()",
    "select devart.create_task('t')",
    "select devart_private.maintain()",
    "set role authenticated",
    "set role devart_agent",
    "set role devart_owner",
    "set role service_role",
];

#[tokio::test]
async fn grafana_reads_no_content_and_no_secret_and_writes_nothing() -> Result<()> {
    let db = world().await?;
    let mut grafana = PgConnection::connect(&db.grafana_url()).await?;
    let defaults: (String, String) = sqlx::query_as(
        "select current_setting('default_transaction_read_only'), current_setting('statement_timeout')",
    )
    .fetch_one(&mut grafana)
    .await?;
    assert_eq!(defaults, ("on".to_owned(), "30s".to_owned()));
    // What only a default forbids is not forbidden.
    let unlock = "set default_transaction_read_only = off";
    run_sql(&mut grafana, unlock.to_owned()).await?;
    for sql in FORBIDDEN {
        let mut transaction = grafana.begin().await?;
        let outcome = run_sql(&mut transaction, (*sql).to_owned()).await;
        assert_eq!(sqlstate(&outcome), "42501", "{sql}");
        transaction.rollback().await?;
    }
    Ok(())
}
