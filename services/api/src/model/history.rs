//! What happened to a task, and what it cost.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::scalar::{Timestamp, Usd};
use super::task::TaskStatus;

/// One change of a task's status.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct TaskEvent {
    pub id: i64,
    pub task_id: Uuid,
    pub from_status: Option<TaskStatus>,
    pub to_status: TaskStatus,
    /// `agent:<id>`, `user:<id>` or `role:<name>`.
    pub actor: String,
    pub at: Timestamp,
    pub attempt: i32,
    pub detail: Option<Value>,
}

/// What a task has been charged.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Charge {
    pub id: Uuid,
    pub service_id: Uuid,
    pub task_id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    pub attempt: Option<i32>,
    pub amount_usd: Usd,
    pub usage: Option<Value>,
    pub kind: String,
    /// The service that was asked for, when a substitute was billed.
    pub delegated_from: Option<Uuid>,
    pub created_at: Timestamp,
}

/// A task's history, oldest first, and its charges.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskHistory {
    #[schema(value_type = Vec<TaskEvent>)]
    pub items: Vec<Box<RawValue>>,
    pub next_cursor: Option<String>,
    /// The task's latest charges, at most 200.
    pub charges: Vec<Charge>,
}

/// Which part of a history to answer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<i64>,
}
