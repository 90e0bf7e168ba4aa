//! A refusal that names an argument names it in DETAIL, too, for programs: {"field": "<argument>"}.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::postgres::PgDatabaseError;

use crate::support::Database;

/// Calls that are refused, with the argument at fault.
const REFUSED: &[(&str, &str)] = &[
    ("select devart.create_tasks('{}')", "tasks"),
    (
        "select devart.update_task(devart.uuid_v7(), '{\"status\": 1}')",
        "status",
    ),
    ("select devart.cancel_task(devart.uuid_v7())", "task_id"),
    (
        "select devart.set_setting('max_rescues', '\"many\"')",
        "value",
    ),
    ("select devart.set_setting('no_setting', '1')", "key"),
    (
        "insert into devart.service_registry (name, time_zone) values ('s', 'Mars')",
        "time_zone",
    ),
    (
        "insert into devart.budgets (scope, scope_id, budget_usd, time_zone)
         values ('agent', devart.uuid_v7(), 1, 'Mars')",
        "time_zone",
    ),
    (
        "select devart.increase_budget(devart.uuid_v7())",
        "amount_usd",
    ),
    (
        "select devart.decide_approval(devart.uuid_v7(), 'maybe')",
        "decision",
    ),
    (
        "select devart.decide_approval(devart.uuid_v7(), 'approve')",
        "approval_id",
    ),
    (
        "select devart.create_task('one', idempotency_key => 'k');
         select devart.create_task('another', idempotency_key => 'k')",
        "idempotency_key",
    ),
];

#[tokio::test]
async fn a_refusal_names_the_argument_in_its_detail() -> Result<()> {
    let db = Database::create().await?;
    for (call, field) in REFUSED {
        let error = sqlx::raw_sql(*call)
            .execute(&db.owner)
            .await
            .expect_err("it is refused");
        let error = error
            .as_database_error()
            .with_context(|| format!("{call}: {error}"))?
            .downcast_ref::<PgDatabaseError>();
        let detail: Value = serde_json::from_str(error.detail().unwrap_or_default())
            .with_context(|| format!("{call}: {error:?}"))?;
        assert_eq!(detail, json!({"field": field}), "{call}");
        assert!(error.message().starts_with(field), "{call}: {error}");
    }
    Ok(())
}

/// The verbs with which a message goes on after the argument's name.
const VERBS: &[&str] = &[
    "must", "is", "has", "may", "does", "names", "cannot", "was", "or",
];

/// Whether a statement of PL/pgSQL raises an error about an argument without naming it in DETAIL.
fn forgets_the_field(statement: &str) -> bool {
    let Some((_, raised)) = statement.split_once("raise exception '") else {
        return false;
    };
    let mut words = raised.split([' ', '\'']);
    let argument = words.next().unwrap_or_default();
    let is_name = argument.starts_with(|c: char| c.is_ascii_lowercase())
        && argument
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let speaks_of_it = is_name && words.next().is_some_and(|verb| VERBS.contains(&verb));
    let names_it = raised.contains(&format!("detail = '{{\"field\": \"{argument}\"}}'"));
    let is_permission = raised.contains("'42501'");
    (speaks_of_it && !is_permission || raised.contains("'22023'")) && !names_it
}

#[test]
fn every_refusal_of_an_argument_in_sql_names_it_in_detail() -> Result<()> {
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql");
    let mut raised = 0;
    for directory in ["incremental", "idempotent"] {
        for entry in std::fs::read_dir(sql.join(directory))? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            for statement in text.split(';') {
                raised += usize::from(statement.contains("raise exception"));
                assert!(
                    !forgets_the_field(statement),
                    "{}: use devart_private.refuse_argument instead of {}",
                    path.display(),
                    statement.trim()
                );
            }
        }
    }
    assert!(raised > 0, "the files were read");
    Ok(())
}

#[test]
fn a_refusal_without_its_field_is_found() {
    for (statement, forgets) in [
        (
            "raise exception 'title must be short' using errcode = '22023'",
            true,
        ),
        (
            "raise exception 'task_id names no task: %', v using errcode = 'P0002'",
            true,
        ),
        (
            "raise exception '% is wrong', v using errcode = '22023'",
            true,
        ),
        (
            "raise exception 'tasks must be an array'
                using errcode = '22023', detail = '{\"field\": \"tasks\"}'",
            false,
        ),
        (
            "raise exception 'nobody may do this' using errcode = '42501'",
            false,
        ),
        (
            "raise exception 'the money is gone' using errcode = '55000'",
            false,
        ),
        (
            "perform devart_private.refuse_argument('title', 'must be short')",
            false,
        ),
    ] {
        assert_eq!(forgets_the_field(statement), forgets, "{statement}");
    }
}
