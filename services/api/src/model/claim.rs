//! The agent's side of a task: claims, leases, outcomes.

use std::time::Duration;

use devart_core::moment::LONGEST_DELAY_SECONDS;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Validate;
use super::scalar::Timestamp;
use super::task::{TaskPriority, TaskStatus};
use crate::error::{ApiError, ApiResult};
use crate::http::json::{StorableText, TaskJson};

const MAX_TASKS: i32 = 100;
const MAX_WAIT_SECONDS: u64 = 30;

/// How many tasks an agent wants, and how long it waits for the first.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 100)]
    pub max_tasks: i32,
    /// 0 answers at once; else the request is held until there is a task or the time is up.
    #[serde(default)]
    #[schema(default = 0, maximum = 30)]
    pub wait_seconds: u64,
}

/// A task in an agent's hands.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct ClaimedTask {
    pub task_id: Uuid,
    pub title: String,
    pub description: Option<String>,
    pub priority: TaskPriority,
    pub payload: Value,
    pub attempt: i32,
    /// Proves that the task is this agent's; needed to extend, complete or fail it.
    pub lease_token: Uuid,
    /// Extended by every heartbeat. A task whose lease expired is given to another agent.
    pub lease_expires_at: Timestamp,
    pub service_id: Option<Uuid>,
    pub workflow_run_id: Option<Uuid>,
    /// The trace that the task belongs to (W3C Trace Context); work on it continues this trace.
    pub traceparent: Option<String>,
    /// Under which the task's estimated cost is set aside; settle or release it.
    pub hold_id: Option<Uuid>,
}

/// The tasks an agent got.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimedTasks {
    pub items: Vec<ClaimedTask>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The work is done.
    Done,
    /// It failed and trying again is pointless.
    Failed,
}

/// The end of a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    pub status: Outcome,
    pub lease_token: Uuid,
    /// With DONE: what came of it; at most 256 KiB, and readable as a task's payload must be.
    #[schema(value_type = Option<Value>)]
    pub result: Option<TaskJson>,
    /// With FAILED: why. What cannot be stored is made visible: U+0000 becomes ␀, half of a
    /// surrogate pair �. Cut at 10,000 characters.
    #[schema(value_type = Option<String>)]
    pub error: Option<StorableText>,
}

/// A failed attempt.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureReport {
    pub lease_token: Uuid,
    /// Why it failed. What cannot be stored is made visible: U+0000 becomes ␀, half of a surrogate
    /// pair �. Cut at 10,000 characters.
    #[schema(value_type = String)]
    pub error: StorableText,
    /// Whether another attempt may succeed.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub retryable: bool,
    /// Not before this many seconds, at most a year; left out: exponential backoff.
    #[schema(minimum = 0, maximum = 31536000)]
    pub retry_after_seconds: Option<u32>,
}

/// More time for a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseExtension {
    pub lease_token: Uuid,
    #[serde(default = "a_minute")]
    #[schema(default = 60, minimum = 1, maximum = 86400)]
    pub seconds: i32,
}

/// A task that its agent cannot go on with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRelease {
    pub lease_token: Uuid,
}

/// Where a task stands after its agent reported.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct TaskStanding {
    pub status: TaskStatus,
    /// When it will be tried again.
    pub run_at: Option<Timestamp>,
}

/// How long an agent has a task for.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Lease {
    pub status: TaskStatus,
    pub lease_expires_at: Option<Timestamp>,
}

impl ClaimRequest {
    /// How long to wait for a task.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }
}

impl Validate for ClaimRequest {
    fn validate(&self) -> ApiResult<()> {
        if !(1..=MAX_TASKS).contains(&self.max_tasks) {
            return Err(ApiError::invalid("max_tasks", "max_tasks must be 1 to 100"));
        }
        if self.wait_seconds > MAX_WAIT_SECONDS {
            return Err(ApiError::invalid(
                "wait_seconds",
                "wait_seconds must be 0 to 30",
            ));
        }
        Ok(())
    }
}

impl Validate for StatusChange {
    fn validate(&self) -> ApiResult<()> {
        match (self.status, &self.result, &self.error) {
            (Outcome::Done, _, Some(_)) => Err(ApiError::invalid(
                "error",
                "error must be left out with status DONE",
            )),
            (Outcome::Failed, Some(_), _) => Err(ApiError::invalid(
                "result",
                "result must be left out with status FAILED",
            )),
            _ => Ok(()),
        }
    }
}

impl Validate for FailureReport {
    fn validate(&self) -> ApiResult<()> {
        let longest = LONGEST_DELAY_SECONDS.unsigned_abs();
        if u64::from(self.retry_after_seconds.unwrap_or(0)) > longest {
            let detail = "retry_after_seconds must be 0 to 31536000, which is a year";
            return Err(ApiError::invalid("retry_after_seconds", detail));
        }
        Ok(())
    }
}

impl Validate for LeaseExtension {}

impl Validate for TaskRelease {}

fn one() -> i32 {
    1
}

fn yes() -> bool {
    true
}

fn a_minute() -> i32 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(max_tasks: i32, wait_seconds: u64) -> ApiResult<()> {
        ClaimRequest {
            max_tasks,
            wait_seconds,
        }
        .validate()
    }

    #[test]
    fn claims_are_bounded() {
        assert!(claim(1, 0).is_ok());
        assert!(claim(100, 30).is_ok());
        assert!(claim(0, 0).is_err());
        assert!(claim(101, 0).is_err());
        assert!(claim(1, 31).is_err());
    }

    #[test]
    fn only_final_states_can_be_set() {
        let body =
            |status: &str| format!(r#"{{"status":"{status}","lease_token":"{}"}}"#, Uuid::nil());
        assert!(serde_json::from_str::<StatusChange>(&body("DONE")).is_ok());
        assert!(serde_json::from_str::<StatusChange>(&body("TODO")).is_err());
    }
}
