//! Webhook deliveries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What became of a delivery.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryOutcome {
    /// `accepted`, `duplicate` or `ignored`.
    pub status: String,
    /// The task it made, or had made.
    pub task_id: Option<Uuid>,
    pub reason: Option<String>,
}
