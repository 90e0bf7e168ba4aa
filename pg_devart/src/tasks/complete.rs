//! Completing: the end of a task that went well.

use std::collections::HashSet;

use devart_core::json::MAX_TASK_BYTES;
use devart_core::status::TaskStatus;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::dependents;
use super::lease_refusal;
use super::outcome::{self, changes_leased_task, outcome_columns};
use crate::caller;
use crate::error::{Error, given};
use crate::json;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, statement};

/// The outcomes of a task that was not completed. The other one is the label of its status.
const LEASE_LOST: &str = "LEASE_LOST";
const RESULT_REFUSED: &str = "RESULT_REFUSED";

statement!(
    COMPLETE,
    concat!(
        "with finished as (select $1 as task_id, $2 as lease_token, $3 as result)\n",
        include_str!("complete.sql"),
        outcome_columns!()
    ),
    [UUIDOID, UUIDOID, JSONBOID, UUIDOID]
);
statement!(
    COMPLETE_MANY,
    concat!(
        "with finished as (select * from unnest($1, $2, $3) as u (task_id, lease_token, result))\n",
        include_str!("complete.sql"),
        "    t.id"
    ),
    [UUIDARRAYOID, UUIDARRAYOID, JSONBARRAYOID, UUIDOID]
);

statement!(
    LOCK,
    "select devart_private.lock_to_complete($1, $2, $3)",
    [UUIDARRAYOID, UUIDARRAYOID, UUIDOID]
);

changes_leased_task! {
    /// Marks the task DONE and keeps `result` (at most 256 KiB, and readable: see
    /// docs/decisions/readable-json.md). What depended on it may go.
    ///
    /// Asking again under the same lease is answered the same; the first result stays.
    /// Errors: P0002 no such task, 42501 another agent's, 55P03 not the current lease, 22023
    /// `result`.
    fn complete_task(
        task_id: Option<Uuid>,
        lease_token: Option<Uuid>,
        result: default!(Option<RawJsonb>, "NULL"),
    ) {
        let task_id = given("task_id", task_id)?;
        let lease_token = given("lease_token", lease_token)?;
        if let Some(result) = &result {
            json::check("result", result, MAX_TASK_BYTES)?;
        }
        let agent = caller::calling_agent()?;
        let completed = spi::connect(|session| {
            COMPLETE.with(|statement| {
                let rows = statement.rows(
                    session,
                    &[
                        task_id.into(),
                        lease_token.into(),
                        result.into(),
                        agent.into(),
                    ],
                );
                let row = rows.first().map(|row| outcome::read(&row));
                row.ok_or_else(|| lease_refusal::explain(session, task_id, agent))
            })
        })?;
        Ok(TableIterator::once(completed))
    }
}

/// Completes many tasks in one statement. Each answers for itself: `DONE`; `LEASE_LOST` for one
/// that does not exist, is another agent's, or whose lease is not the current one;
/// `RESULT_REFUSED` for one whose result is too long or not readable, which its agent still has.
///
/// `results`: null, or one result (or null) per task.
/// Errors: 22023 the arrays differ in length or contain nulls.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn complete_tasks(
    task_ids: Option<Vec<Option<Uuid>>>,
    lease_tokens: Option<Vec<Option<Uuid>>>,
    results: default!(Option<Vec<Option<RawJsonb>>>, "NULL"),
) -> Result<TableIterator<'static, (name!(task_id, Uuid), name!(outcome, String))>, ErrorReport> {
    let task_ids = without_nulls("task_ids", given("task_ids", task_ids)?)?;
    let lease_tokens = without_nulls("lease_tokens", given("lease_tokens", lease_tokens)?)?;
    let results = results.unwrap_or_else(|| vec![None; task_ids.len()]);
    if lease_tokens.len() != task_ids.len() || results.len() != task_ids.len() {
        let problem = "and results must be as many as task_ids";
        return Err(Error::invalid("lease_tokens", problem).into());
    }
    let finished = task_ids.iter().copied();
    let finished = finished.zip(lease_tokens.into_iter().zip(results));
    let (finished, refused): (Vec<_>, Vec<_>) =
        finished.partition(|(_, (_, result))| can_be_kept(result.as_ref()));
    let (finished, (lease_tokens, results)): (Vec<_>, (Vec<_>, Vec<_>)) =
        finished.into_iter().unzip();
    let refused: HashSet<Uuid> = refused.into_iter().map(|(task_id, _)| task_id).collect();
    let agent = caller::calling_agent()?;
    let done: HashSet<Uuid> = spi::connect(|session| {
        // Otherwise two batches could wait for each other: each completion locks its dependents.
        if finished.len() > 1 && dependents::of_any(session, &finished) {
            LOCK.with(|statement| {
                let arguments = [
                    finished.clone().into(),
                    lease_tokens.clone().into(),
                    agent.into(),
                ];
                statement.rows(session, &arguments).len()
            });
        }
        COMPLETE_MANY.with(|statement| {
            let arguments = [
                finished.into(),
                lease_tokens.into(),
                results.into(),
                agent.into(),
            ];
            let rows = statement.rows(session, &arguments);
            rows.iter().map(|row| row.required(1)).collect()
        })
    });
    Ok(TableIterator::new(task_ids.into_iter().map(
        move |task_id| {
            let outcome = if done.contains(&task_id) {
                TaskStatus::Done.as_str()
            } else if refused.contains(&task_id) {
                RESULT_REFUSED
            } else {
                LEASE_LOST
            };
            (task_id, outcome.to_owned())
        },
    )))
}

fn can_be_kept(result: Option<&RawJsonb>) -> bool {
    result.is_none_or(|result| result.check(MAX_TASK_BYTES).is_ok())
}

fn without_nulls<T>(name: &'static str, values: Vec<Option<T>>) -> Result<Vec<T>, Error> {
    values
        .into_iter()
        .collect::<Option<Vec<T>>>()
        .ok_or_else(|| Error::invalid(name, "must not contain null"))
}
