//! What waits for a person.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;
use super::scalar::Timestamp;
use crate::error::{ApiError, ApiResult};

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ApprovalStatus {
    Pending,
    Approved,
    Rejected,
    Expired,
}

/// A question to people.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Approval {
    pub id: Uuid,
    /// What is asked for: task, budget, sandbox or publish.
    pub subject: String,
    pub subject_id: Uuid,
    /// SHA-256, in hexadecimal, of the exact action: what was approved is what happens.
    #[serde(serialize_with = "hexadecimal")]
    #[schema(value_type = String)]
    pub digest: Vec<u8>,
    /// How many people must approve.
    pub quorum: i32,
    pub status: ApprovalStatus,
    pub requested_by: Option<Uuid>,
    /// What exactly is asked: for a budget the service, the amount needed and the reason.
    pub detail: Option<Value>,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub decided_at: Option<Timestamp>,
}

/// Which approvals to list, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApprovalFilter {
    pub status: Option<ApprovalStatus>,
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Uuid>,
}

/// A person's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// The task goes on. For a budget: its limits are raised by what is missing.
    Approve,
    /// Only for a budget: the task goes on, and the service `service_id` pays for it.
    Substitute,
    /// The task is cancelled.
    Reject,
}

/// A person's vote and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub decision: Vote,
    #[schema(max_length = 2000)]
    pub comment: Option<String>,
    /// With `substitute`, and only then: who pays instead.
    pub service_id: Option<Uuid>,
}

impl ApprovalStatus {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
        }
    }
}

impl Vote {
    /// The word the database knows it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Substitute => "substitute",
            Self::Reject => "reject",
        }
    }
}

impl Validate for Decision {
    fn validate(&self) -> ApiResult<()> {
        if (self.decision == Vote::Substitute) == self.service_id.is_some() {
            return Ok(());
        }
        let detail = "service_id must be given with decision substitute and with no other";
        Err(ApiError::invalid("service_id", detail))
    }
}

fn hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}
