//! What the bridge's login can do.

use anyhow::Result;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::database;
use crate::support::{Caller, sqlstate};

#[tokio::test]
async fn the_bridges_login_can_do_its_work_and_nothing_else() -> Result<()> {
    let db = database().await?;
    let mut bridge = PgConnection::connect(&db.bridge_url("rabbitmq")).await?;
    for (sql, expected) in [
        ("select devart_private.is_ready()", "ok"),
        ("select devart_private.task_lanes(60)", "ok"),
        ("select devart_private.invite_waiting_tasks()", "ok"),
        (
            "select * from devart_private.claim_outbox('rabbitmq.task', 1, '10 s')",
            "ok",
        ),
        (
            "select * from devart_private.claim_outbox('telegram.message', 1, '10 s')",
            "42501",
        ),
        ("select * from devart_private.outbox", "42501"),
        (
            "select devart_private.send_task_messages('dead', '{}')",
            "42501",
        ),
        ("select devart_private.maintain()", "42501"),
        ("select * from devart.tasks", "42501"),
        ("select devart.create_task('t')", "42501"),
        ("set role devart_owner", "42501"),
    ] {
        let outcome = sqlx::query(sql).execute(&mut bridge).await;
        assert_eq!(sqlstate(&outcome), expected, "{sql}");
    }
    let mut agent = db.session_as(Caller::Agent(Uuid::now_v7())).await?;
    let outcome = sqlx::query("select devart_private.invite_waiting_tasks()")
        .execute(&mut agent)
        .await;
    assert_eq!(sqlstate(&outcome), "42501");
    Ok(())
}
