//! Completing: the end of a task that went well.

use std::collections::HashSet;

use devart_core::status::TaskStatus;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::lease_refusal;
use super::outcome::{self, changes_leased_task, outcome_columns};
use crate::caller;
use crate::error::Error;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, statement};

const MAX_RESULT_BYTES: usize = 256 * 1024;
/// The outcome of a task that was not completed. The other one is the label of its status.
const LEASE_LOST: &str = "LEASE_LOST";

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

changes_leased_task! {
    /// Marks the task DONE and keeps `result` (at most 256 KiB). What depended on it may go.
    ///
    /// Asking again under the same lease is answered the same; the first result stays.
    /// Errors: P0002 no such task, 42501 another agent's, 55P03 not the current lease, 22023
    /// `result`.
    fn complete_task(
        task_id: Uuid,
        lease_token: Uuid,
        result: default!(Option<RawJsonb>, "NULL"),
    ) {
        check_size(result.as_ref())?;
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

/// Completes many tasks in one statement. Each answers for itself: `DONE`, or `LEASE_LOST` for one
/// that does not exist, is another agent's, or whose lease is not the current one.
///
/// `results`: null, or one result (or null) per task.
/// Errors: 22023 the arrays differ in length, contain nulls or a result is too long.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn complete_tasks(
    task_ids: Vec<Option<Uuid>>,
    lease_tokens: Vec<Option<Uuid>>,
    results: default!(Option<Vec<Option<RawJsonb>>>, "NULL"),
) -> Result<TableIterator<'static, (name!(task_id, Uuid), name!(outcome, String))>, ErrorReport> {
    let task_ids = without_nulls("task_ids", task_ids)?;
    let lease_tokens = without_nulls("lease_tokens", lease_tokens)?;
    let results = results.unwrap_or_else(|| vec![None; task_ids.len()]);
    if lease_tokens.len() != task_ids.len() || results.len() != task_ids.len() {
        let problem = "and results must be as many as task_ids";
        return Err(Error::invalid("lease_tokens", problem).into());
    }
    results
        .iter()
        .try_for_each(|result| check_size(result.as_ref()))?;
    let agent = caller::calling_agent()?;
    let done: HashSet<Uuid> = spi::connect(|session| {
        COMPLETE_MANY.with(|statement| {
            let arguments = [
                task_ids.clone().into(),
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
            } else {
                LEASE_LOST
            };
            (task_id, outcome.to_owned())
        },
    )))
}

fn check_size(result: Option<&RawJsonb>) -> Result<(), Error> {
    if result.is_some_and(|result| result.len() > MAX_RESULT_BYTES) {
        return Err(Error::invalid("result", "must not be longer than 256 KiB"));
    }
    Ok(())
}

fn without_nulls<T>(name: &'static str, values: Vec<Option<T>>) -> Result<Vec<T>, Error> {
    values
        .into_iter()
        .collect::<Option<Vec<T>>>()
        .ok_or_else(|| Error::invalid(name, "must not contain null"))
}
