//! Tasks: the row, and what may be asked of it.

use devart_core::traceparent;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;
use super::scalar::{Timestamp, Usd, present};
use crate::error::{ApiError, ApiResult};
use crate::http::json::TaskJson;

const TITLE_MAX_CHARS: usize = 500;
const DESCRIPTION_MAX_BYTES: usize = 64 * 1024;

/// How urgent a task is, in the order in which tasks are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskPriority {
    Critical,
    High,
    Medium,
    Low,
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    Blocked,
    AwaitingApproval,
    Scheduled,
    Todo,
    InProgress,
    Done,
    Failed,
    Cancelled,
}

/// A piece of work.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Task {
    pub id: Uuid,
    pub title: String,
    pub description: Option<String>,
    pub priority: TaskPriority,
    pub status: TaskStatus,
    pub parent_task_id: Option<Uuid>,
    pub workflow_run_id: Option<Uuid>,
    pub template_id: Option<Uuid>,
    pub service_id: Option<Uuid>,
    /// The agent that has it, or had it last.
    pub agent_id: Option<Uuid>,
    pub required_capabilities: Vec<String>,
    pub payload: Value,
    pub result: Option<Value>,
    /// How often the task was handed out.
    pub attempt: i32,
    pub retry_count: i32,
    pub max_retries: i32,
    pub last_error: Option<String>,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    pub lease_expires_at: Option<Timestamp>,
    /// How long an attempt may run, whatever its heartbeats say.
    pub timeout_seconds: Option<i32>,
    pub estimated_cost_usd: Option<Usd>,
    /// It cost far more than its peers.
    pub is_flagged: bool,
    /// The trace that the task belongs to, as W3C Trace Context writes it.
    pub traceparent: Option<String>,
    pub created_by: Option<Uuid>,
    pub created_at: Timestamp,
    pub claimed_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// A task to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    #[schema(min_length = 1, max_length = 500)]
    pub title: String,
    /// At most 64 KiB.
    pub description: Option<String>,
    /// The parent's when left out, else MEDIUM.
    pub priority: Option<TaskPriority>,
    /// What the agent needs to know; at most 256 KiB.
    /// It must be readable everywhere: nested at most 64 levels, no number of more than 400
    /// characters without its exponent, no character U+0000.
    #[serde(default = "TaskJson::empty_object")]
    #[schema(value_type = Value, default = json!({}))]
    pub payload: TaskJson,
    pub parent_task_id: Option<Uuid>,
    pub service_id: Option<Uuid>,
    /// Only agents with all of these may take it.
    #[serde(default)]
    pub required_capabilities: Vec<String>,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    #[serde(default = "default_max_retries")]
    #[schema(default = 3, minimum = 0, maximum = 100)]
    pub max_retries: i32,
    pub estimated_cost_usd: Option<Usd>,
    /// Tasks that must be DONE first.
    #[serde(default)]
    pub depends_on: Vec<Uuid>,
    /// A person must approve it before an agent may take it.
    #[serde(default)]
    pub needs_approval: bool,
    /// The trace that the task belongs to (W3C Trace Context); the header `traceparent` when left
    /// out.
    pub traceparent: Option<String>,
    /// An attempt that runs for longer is ended and counts as a failure, whatever its heartbeats
    /// say.
    #[schema(minimum = 1, maximum = 2592000)]
    pub timeout_seconds: Option<i32>,
    /// From the request's header.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// Changes to a task. What is left out stays; null clears.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 500)]
    pub title: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<TaskPriority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub payload: Option<TaskJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_capabilities: Option<Vec<String>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Timestamp>)]
    pub run_at: Option<Option<Timestamp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i32>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Usd>)]
    pub estimated_cost_usd: Option<Option<Usd>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Uuid>)]
    pub service_id: Option<Option<Uuid>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 2592000)]
    pub timeout_seconds: Option<Option<i32>>,
}

/// Which tasks to list, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskFilter {
    pub status: Option<TaskStatus>,
    pub priority: Option<TaskPriority>,
    pub agent_id: Option<Uuid>,
    pub workflow_run_id: Option<Uuid>,
    /// Only those that cost far more than their peers, or only the others.
    pub flagged: Option<bool>,
    /// Words in the title.
    pub q: Option<String>,
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Uuid>,
}

/// Why a task is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    #[schema(max_length = 10000)]
    pub reason: Option<String>,
}

impl TaskFilter {
    /// What the title must contain, if anything.
    pub fn words(&self) -> Option<&str> {
        self.q.as_deref().filter(|words| !words.is_empty())
    }

    /// Whether it leaves any task out.
    pub fn asks_for_some(&self) -> bool {
        self.words().is_some()
            || self.status.is_some()
            || self.priority.is_some()
            || self.agent_id.is_some()
            || self.workflow_run_id.is_some()
            || self.flagged.is_some()
    }
}

impl TaskPriority {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

impl TaskStatus {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "BLOCKED",
            Self::AwaitingApproval => "AWAITING_APPROVAL",
            Self::Scheduled => "SCHEDULED",
            Self::Todo => "TODO",
            Self::InProgress => "IN_PROGRESS",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl Validate for NewTask {
    fn validate(&self) -> ApiResult<()> {
        check_title(&self.title)?;
        check_description(self.description.as_deref())?;
        check_traceparent(self.traceparent.as_deref())
    }
}

impl Validate for TaskChanges {
    fn validate(&self) -> ApiResult<()> {
        self.title.as_deref().map_or(Ok(()), check_title)?;
        check_description(self.description.as_ref().and_then(Option::as_deref))
    }
}

impl Validate for Cancellation {}

fn check_title(title: &str) -> ApiResult<()> {
    match title.chars().take(TITLE_MAX_CHARS + 1).count() {
        1..=TITLE_MAX_CHARS => Ok(()),
        _ => Err(ApiError::invalid(
            "title",
            "title must be 1 to 500 characters long",
        )),
    }
}

fn check_description(description: Option<&str>) -> ApiResult<()> {
    if description.is_some_and(|text| text.len() > DESCRIPTION_MAX_BYTES) {
        return Err(ApiError::invalid(
            "description",
            "description must be at most 64 KiB",
        ));
    }
    Ok(())
}

fn check_traceparent(traceparent: Option<&str>) -> ApiResult<()> {
    if traceparent.is_some_and(|text| !traceparent::is_valid(text)) {
        return Err(ApiError::invalid(
            "traceparent",
            "traceparent must have the form of W3C Trace Context",
        ));
    }
    Ok(())
}

fn default_max_retries() -> i32 {
    3
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn new_task(body: Value) -> Result<NewTask, String> {
        let task: NewTask = serde_json::from_value(body).map_err(|error| error.to_string())?;
        task.validate()
            .map_err(|error| error.document()["field"].to_string())?;
        Ok(task)
    }

    #[test]
    fn a_title_is_enough() {
        let task = new_task(json!({"title": "Review"})).expect("valid");
        assert_eq!(task.max_retries, 3);
        assert_eq!(task.payload.argument().get(), "{}");
    }

    #[test]
    fn titles_are_counted_in_characters() {
        assert!(new_task(json!({"title": "ä".repeat(500)})).is_ok());
        assert_eq!(
            new_task(json!({"title": "a".repeat(501)})).err().as_deref(),
            Some("\"title\"")
        );
        assert!(new_task(json!({"title": ""})).is_err());
    }

    #[test]
    fn oversized_payloads_and_descriptions_are_named() {
        let payload = json!({"title": "t", "payload": {"x": "y".repeat(256 * 1024)}});
        let refused = new_task(payload).expect_err("too long");
        assert!(refused.contains("256 KiB"), "{refused}");
        let description = json!({"title": "t", "description": "y".repeat(64 * 1024 + 1)});
        assert_eq!(
            new_task(description).err().as_deref(),
            Some("\"description\"")
        );
    }

    #[test]
    fn a_malformed_traceparent_is_named() {
        let body = json!({"title": "t", "traceparent": "00-abc"});
        assert_eq!(new_task(body).err().as_deref(), Some("\"traceparent\""));
    }

    #[test]
    fn changes_tell_null_from_absent() {
        let changes: TaskChanges =
            serde_json::from_value(json!({"run_at": null, "title": "t"})).expect("valid");
        let sent = serde_json::to_value(&changes).expect("serializable");
        assert_eq!(sent, json!({"run_at": null, "title": "t"}));
    }

    #[test]
    fn enum_names_match_the_database() {
        for status in [
            TaskStatus::AwaitingApproval,
            TaskStatus::InProgress,
            TaskStatus::Todo,
        ] {
            assert_eq!(
                serde_json::to_value(status).expect("a name"),
                status.as_str()
            );
        }
        for priority in [TaskPriority::Critical, TaskPriority::Low] {
            assert_eq!(
                serde_json::to_value(priority).expect("a name"),
                priority.as_str()
            );
        }
    }
}
