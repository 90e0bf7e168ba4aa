//! Failing: tried again later while retries are left, else dead.

use devart_core::moment::LONGEST_DELAY_SECONDS;
use devart_core::retry::Failure;
use pgrx::datum::{Interval, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::lease_refusal;
use super::outcome::{self, Outcome, changes_leased_task, outcome_columns};
use crate::caller;
use crate::error::{Error, given};
use crate::pg::spi::{self, Session, statement};
use crate::settings;

/// Longer errors are cut: of what comes after, nothing is kept.
const MAX_ERROR_CHARS: usize = 10_000;

statement!(
    FAILING,
    include_str!("failing.sql"),
    [UUIDOID, UUIDOID, UUIDOID]
);
statement!(
    FAIL,
    concat!(include_str!("fail.sql"), outcome_columns!()),
    [UUIDOID, TEXTOID, FLOAT8OID]
);

changes_leased_task! {
    /// Reports that the task failed with `error`.
    ///
    /// While retries are left it becomes SCHEDULED after the backoff, or after `retry_after` if
    /// that is longer (0 to 365 days); else, or when it is not `retryable`, it becomes FAILED.
    /// Errors: P0002 no such task, 42501 another agent's, 55P03 not the current lease, 22023
    /// `retry_after`, or an argument is missing.
    fn report_task_failure(
        task_id: Option<Uuid>,
        lease_token: Option<Uuid>,
        error: Option<&str>,
        retryable: default!(Option<bool>, true),
        retry_after: default!(Option<Interval>, "NULL"),
    ) {
        let task_id = given("task_id", task_id)?;
        let lease_token = given("lease_token", lease_token)?;
        let error = given("error", error)?;
        let retryable = given("retryable", retryable)?;
        let agent = caller::calling_agent()?;
        let retry_after = seconds_of(retry_after)?;
        let failed = spi::connect(|session| {
            let (retry_count, max_retries) =
                lock_failing(session, task_id, lease_token, agent)?;
            let failure = Failure { retry_count, max_retries, retryable, retry_after };
            let backoff = settings::current(session).retry;
            let delay = failure.retry_delay(backoff, rand::random());
            Ok::<_, Error>(fail(session, task_id, error, delay))
        })?;
        Ok(TableIterator::once(failed))
    }
}

fn seconds_of(retry_after: Option<Interval>) -> Result<f64, Error> {
    let seconds = retry_after.map_or(0.0, |interval| interval.as_micros() as f64 / 1e6);
    match (0.0..=LONGEST_DELAY_SECONDS as f64).contains(&seconds) {
        true => Ok(seconds),
        false => Err(Error::invalid("retry_after", "must be from 0 to 365 days")),
    }
}

/// Locks the task; gives how often it was tried again, and how often it may be.
fn lock_failing(
    session: &Session,
    task_id: Uuid,
    lease_token: Uuid,
    agent: Option<Uuid>,
) -> Result<(u32, u32), Error> {
    FAILING.with(|statement| {
        let rows = statement.rows(session, &[task_id.into(), lease_token.into(), agent.into()]);
        let row = rows
            .first()
            .ok_or_else(|| lease_refusal::explain(session, task_id, agent))?;
        let count = |column| row.required::<i32>(column).unsigned_abs();
        Ok((count(1), count(2)))
    })
}

fn fail(session: &Session, task_id: Uuid, error: &str, delay: Option<f64>) -> Outcome {
    let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
    FAIL.with(|statement| {
        let rows = statement.rows(session, &[task_id.into(), error.into(), delay.into()]);
        outcome::read(&rows.first().expect("the task is locked"))
    })
}
