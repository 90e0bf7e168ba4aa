//! Native functions: an error about an argument tells people in its message and programs in its
//! DETAIL which one.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sqlx::postgres::{PgDatabaseError, PgPool};
use uuid::Uuid;

use crate::support::Database;
use crate::support::queue::create;

/// SQLSTATE, message and DETAIL of the error that the statement ends with.
async fn refusal(pool: &PgPool, statement: &str) -> Result<(String, String, Option<Value>)> {
    let executed = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(pool)
        .await;
    let Err(error) = executed else {
        bail!("{statement} succeeded");
    };
    let error = error
        .as_database_error()
        .context("no error of the database")?;
    let error = error.downcast_ref::<PgDatabaseError>();
    let detail = error.detail().map(serde_json::from_str).transpose()?;
    Ok((error.code().to_owned(), error.message().to_owned(), detail))
}

#[tokio::test]
async fn an_argument_that_makes_no_sense_is_named_apart_from_the_message() -> Result<()> {
    let db = Database::create().await?;
    let id = Uuid::nil();
    for (statement, message, field) in [
        (
            format!("select devart.extend_lease('{id}', '{id}', 0)"),
            "seconds must be from 1 to 86400",
            "seconds",
        ),
        (
            format!("select devart.release_task('{id}', null)"),
            "lease_token must be given",
            "lease_token",
        ),
        (
            "select devart.claim_tasks(max_tasks => 0)".to_owned(),
            "max_tasks must be from 1 to 1000",
            "max_tasks",
        ),
        (
            "select devart.claim_next_task()".to_owned(),
            "agent_id must be given by callers who are not agents",
            "agent_id",
        ),
        (
            format!("select devart.complete_tasks(array['{id}'::uuid], '{{}}')"),
            "lease_tokens and results must be as many as task_ids",
            "lease_tokens",
        ),
        (
            format!("select devart.complete_tasks(array[null::uuid], array['{id}'::uuid])"),
            "task_ids must not contain null",
            "task_ids",
        ),
        (
            format!("select devart.settle_charge('{id}')"),
            "amount_usd or usage must be given",
            "amount_usd",
        ),
        (
            format!("select devart.charge_service('{id}', -1)"),
            "amount_usd must not be negative",
            "amount_usd",
        ),
        (
            format!("select devart.reserve_charge('{id}', usage => '{{\"request\": -1}}')"),
            "usage.request must be a number of 0 or more",
            "usage.request",
        ),
        (
            format!("select devart.reserve_charge('{id}', 1, ttl => '31 days')"),
            "ttl must be more than 0 and at most 30 days",
            "ttl",
        ),
        (
            format!("select devart.charge_service('{id}', 1, idempotency_key => '')"),
            "idempotency_key must be 1 to 200 characters long",
            "idempotency_key",
        ),
        (
            "select devart.render_template('{{ who }}', '{}')".to_owned(),
            "template has an unknown variable: who",
            "template",
        ),
        (
            "insert into devart.tasks (title, payload)
             values ('large', to_jsonb(repeat('x', 300000)))"
                .to_owned(),
            "payload must not be longer than 256 KiB",
            "payload",
        ),
    ] {
        let expected = (
            "22023".to_owned(),
            message.to_owned(),
            Some(json!({"field": field})),
        );
        assert_eq!(refusal(&db.owner, &statement).await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn what_an_argument_does_not_name_or_not_any_more_is_told_by_its_name() -> Result<()> {
    let db = Database::create().await?;
    let task = create(&db.owner, json!({"title": "waits"})).await?;
    let id = Uuid::nil();
    for (statement, sqlstate, field) in [
        (
            format!("select devart.claim_next_task('{id}')"),
            "P0002",
            "agent_id",
        ),
        (
            format!("select devart.agent_heartbeat('{id}')"),
            "P0002",
            "agent_id",
        ),
        (
            format!("select devart.complete_task('{id}', '{id}')"),
            "P0002",
            "task_id",
        ),
        (
            format!("select devart.complete_task('{task}', '{id}')"),
            "55P03",
            "lease_token",
        ),
        (
            format!("select devart.settle_charge('{id}', 1)"),
            "P0002",
            "hold_id",
        ),
        (
            format!("select devart.charge_service('{id}', 1)"),
            "P0002",
            "service_id",
        ),
    ] {
        let (code, message, detail) = refusal(&db.owner, &statement).await?;
        assert_eq!(
            (code.as_str(), detail),
            (sqlstate, Some(json!({"field": field})))
        );
        assert!(message.starts_with(&format!("{field} ")), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn an_error_about_the_caller_names_no_argument() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let statement = format!(
        "update devart.agents set status = 'DEACTIVATED';
         select devart.claim_next_task('{}')",
        agent.id
    );
    let expected = (
        "42501".to_owned(),
        "the agent is deactivated".to_owned(),
        None,
    );
    assert_eq!(refusal(&db.owner, &statement).await?, expected);
    Ok(())
}
