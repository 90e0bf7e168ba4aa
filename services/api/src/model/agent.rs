//! Agents and their keys.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;
use super::scalar::Timestamp;
use super::stop::AgentStop;
use crate::error::{ApiError, ApiResult};
use crate::http::json::TaskJson;

const NAME_MAX_CHARS: usize = 200;

/// What an agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentStatus {
    Idle,
    Busy,
    Offline,
    Deactivated,
}

/// A program that takes tasks.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Agent {
    pub id: Uuid,
    pub name: String,
    pub capabilities: Vec<String>,
    pub status: AgentStatus,
    pub version: Option<String>,
    pub last_heartbeat_at: Option<Timestamp>,
    /// As of the last heartbeat.
    pub active_task_count: i32,
    /// What the agent last said of itself.
    pub detail: Option<Value>,
    pub created_by: Option<Uuid>,
    pub created_at: Timestamp,
}

/// An agent to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAgent {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What it can do; it gets tasks that require no more than this.
    #[serde(default)]
    pub capabilities: Vec<String>,
    pub version: Option<String>,
}

/// A registered agent and its key, shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RegisteredAgent {
    pub id: Uuid,
    pub name: String,
    pub capabilities: Vec<String>,
    pub status: AgentStatus,
    pub version: Option<String>,
    pub last_heartbeat_at: Option<Timestamp>,
    pub active_task_count: i32,
    pub detail: Option<Value>,
    pub created_by: Option<Uuid>,
    pub created_at: Timestamp,
    /// Names the key when it is to be revoked.
    pub key_id: String,
    /// For the header X-Agent-Key. Only its hash is kept.
    pub api_key: String,
}

/// Which agents to list, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentFilter {
    pub status: Option<AgentStatus>,
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Uuid>,
}

/// What an agent says of itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// An object with anything worth showing, such as load or progress; at most 16 KiB besides its
    /// `lease_tokens`.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<TaskJson>,
}

/// What an agent learns from its heartbeat.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    pub status: AgentStatus,
    pub leases_extended: i64,
    pub active_task_count: i64,
    /// The agent is deactivated: it should finish what it has and stop for good.
    pub stop: bool,
    /// What people stopped or paused of what the agent does; it is handed nothing of that.
    #[serde(default)]
    pub stops: Vec<AgentStop>,
    /// Queues of RabbitMQ in which messages arrive about tasks that the agent can do.
    pub queues: Vec<String>,
}

/// Whether an agent may work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// False releases the agent's tasks and refuses its claims.
    pub active: bool,
}

/// A key to make. The agent's other keys stay valid until revoked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub expires_at: Option<Timestamp>,
}

/// A key, shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IssuedKey {
    pub key_id: String,
    pub api_key: String,
    pub expires_at: Option<Timestamp>,
}

/// A short-lived token for an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentToken {
    pub access_token: String,
    #[schema(example = "bearer")]
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
}

impl AgentStatus {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Busy => "BUSY",
            Self::Offline => "OFFLINE",
            Self::Deactivated => "DEACTIVATED",
        }
    }
}

impl Validate for NewAgent {
    fn validate(&self) -> ApiResult<()> {
        check_name(&self.name)
    }
}

impl Validate for Heartbeat {}
impl Validate for Activation {}
impl Validate for NewKey {}

/// Names of agents and services have the same bounds.
///
/// # Errors
/// 422 naming `name`.
pub fn check_name(name: &str) -> ApiResult<()> {
    match name.chars().take(NAME_MAX_CHARS + 1).count() {
        1..=NAME_MAX_CHARS => Ok(()),
        _ => Err(ApiError::invalid(
            "name",
            "name must be 1 to 200 characters long",
        )),
    }
}
