//! Stops and pauses.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Validate;
use super::scalar::Timestamp;
use crate::error::{ApiError, ApiResult};

const REASON_MAX_CHARS: usize = 1000;

/// What a stop keeps from beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum StopScope {
    All,
    Agent,
    Service,
    /// A workflow run, and what descends from its tasks.
    Run,
    /// A task, and what descends from it.
    Task,
}

/// A stop or pause in force.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Stop {
    pub id: Uuid,
    pub scope: StopScope,
    /// Of the agent, service, run or task; null for everything.
    pub scope_id: Option<Uuid>,
    pub reason: Option<String>,
    /// `user:<id>`, `agent:<id>` or `role:<name>`.
    pub stopped_by: String,
    pub stopped_at: Timestamp,
}

/// What is stopped at this moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stops {
    /// Whether everything is.
    pub stopped: bool,
    /// All stops and pauses, the latest first; at most 1000.
    pub stops: Vec<Stop>,
}

/// A stop of everything.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStop {
    /// Told to people, to agents, and with each refusal.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// A pause.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPause {
    /// Told to people, to agents, and with each refusal.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: Option<String>,
}

/// The end of a stop or pause.
#[derive(Debug, Serialize, ToSchema)]
pub struct Resumption {
    /// False: there was none.
    pub resumed: bool,
}

/// What a heartbeat tells an agent not to begin, nor to go on with longer than it must.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentStop {
    pub scope: StopScope,
    pub reason: Option<String>,
    /// The task in hand that it is about; null: everything that the agent does.
    pub task_id: Option<Uuid>,
}

impl StopScope {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Agent => "agent",
            Self::Service => "service",
            Self::Run => "run",
            Self::Task => "task",
        }
    }
}

impl Validate for NewStop {
    fn validate(&self) -> ApiResult<()> {
        check_reason(&self.reason)
    }
}

impl Validate for NewPause {
    fn validate(&self) -> ApiResult<()> {
        self.reason.as_deref().map_or(Ok(()), check_reason)
    }
}

fn check_reason(reason: &str) -> ApiResult<()> {
    match reason.chars().take(REASON_MAX_CHARS + 1).count() {
        1..=REASON_MAX_CHARS => Ok(()),
        _ => Err(ApiError::invalid(
            "reason",
            "reason must be 1 to 1000 characters long",
        )),
    }
}
