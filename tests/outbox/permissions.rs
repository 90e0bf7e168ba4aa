//! Who may do what to the outbox.

use anyhow::Result;
use sqlx::{Connection, PgConnection};

use crate::support::outbox::TOPIC;
use crate::support::outbox_rows::database;
use crate::support::{Caller, run_sql, sqlstate};

/// What a bridge calls, with `{topic}` for the topic.
const CALLS: &[&str] = &[
    "select devart_private.claim_outbox('{topic}', 1, '30 s')",
    "select devart_private.acknowledge_outbox('{topic}', '{1}', array[gen_random_uuid()])",
    "select devart_private.fail_outbox('{topic}', '{1}', array[gen_random_uuid()], '{e}', '{1}', 5)",
    "select devart_private.extend_outbox('{topic}', '{1}', array[gen_random_uuid()], '30 s')",
    "select devart_private.return_outbox('{topic}', '{1}', array[gen_random_uuid()])",
    "select devart_private.outbox_depth('{topic}')",
];

async fn may(session: &mut PgConnection, sql: &str) -> Result<bool> {
    let mut transaction = session.begin().await?;
    let outcome = run_sql(&mut transaction, sql.to_owned()).await;
    transaction.rollback().await?;
    match sqlstate(&outcome).as_str() {
        "ok" => Ok(true),
        "42501" => Ok(false),
        other => panic!("{sql} ended with {other}: {outcome:?}"),
    }
}

#[tokio::test]
async fn a_bridge_may_touch_the_topics_of_its_name_and_nothing_else() -> Result<()> {
    let db = database().await?;
    let mut bridge = PgConnection::connect(&db.bridge_url("rabbitmq")).await?;
    for call in CALLS {
        for (topic, expected) in [
            ("rabbitmq.test", true),
            ("rabbitmq.task", true),
            ("telegram.alert", false),
            ("rabbitmq2.task", false),
            ("rabbit.task", false),
            ("", false),
        ] {
            let call = call.replace("{topic}", topic);
            assert_eq!(may(&mut bridge, &call).await?, expected, "{call}");
        }
    }
    for (sql, expected) in [
        ("select devart_private.is_ready()", true),
        ("select from devart_private.outbox", false),
        ("delete from devart_private.outbox", false),
        ("select from devart.tasks", false),
        ("select devart.create_task('t')", false),
        (
            "select devart_private.enqueue('rabbitmq.test', null, '{}')",
            false,
        ),
        ("select devart_private.wake('rabbitmq.test')", false),
        ("select devart_private.outbox_topics()", false),
        ("select devart_private.buried_outbox_ids(null)", false),
        ("select devart_private.replay_outbox(null, null)", false),
        ("select devart_private.purge_outbox(null, null)", false),
        (
            "select devart_private.free_outbox_keys('rabbitmq.test', '{}')",
            false,
        ),
        ("select devart_private.maintain()", false),
        ("set local role devart_owner", false),
        ("set local role service_role", false),
    ] {
        assert_eq!(may(&mut bridge, sql).await?, expected, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn the_roles_of_the_api_cannot_touch_the_outbox() -> Result<()> {
    let db = database().await?;
    let agent = db.agent(&[]).await?;
    let callers = [Caller::Anon, db.person("admin").await?, agent.caller()];
    let mut sessions = vec![PgConnection::connect(&db.authenticator_url()).await?];
    for caller in callers {
        sessions.push(db.session_as(caller).await?);
    }
    let operators = [
        "select devart_private.outbox_topics()",
        "select devart_private.buried_outbox_ids(null)",
        "select devart_private.outbox_rows(null, false, 1)",
        "select devart_private.replay_outbox(null, null)",
        "select devart_private.purge_outbox(null, null)",
        "select devart_private.create_bridge('evil')",
        "select from devart_private.outbox",
    ];
    for session in &mut sessions {
        for call in CALLS.iter().chain(&operators) {
            let call = call.replace("{topic}", TOPIC);
            assert!(!may(session, &call).await?, "{call}");
        }
    }
    Ok(())
}
