//! Money that is set aside, and what becomes of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Validate;
use super::scalar::Usd;
use crate::error::{ApiError, ApiResult};
use crate::http::json::SmallJson;

const MAX_TTL_SECONDS: u32 = 30 * 86_400;

/// A call that is about to cost money: an estimate in dollars, or usage in units that have a price;
/// with neither, what such calls cost lately.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    pub service_id: Uuid,
    #[schema(minimum = 0)]
    pub estimate_usd: Option<Usd>,
    /// Units and quantities.
    #[schema(
        value_type = Option<Object>,
        example = json!({"input_token": 1200, "output_token": 300})
    )]
    pub usage: Option<SmallJson>,
    /// The task it is for.
    pub task_id: Option<Uuid>,
    /// Must be the task's current lease.
    pub lease_token: Option<Uuid>,
    /// The same key holds once.
    #[schema(min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Whether a refused task waits for budget and asks people. False: it stays with the agent,
    /// which may ask for less.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub ask: bool,
    /// How long the hold lasts unless it is settled or released: 1 second to 30 days, 10 minutes
    /// when left out.
    #[schema(minimum = 1, maximum = 2592000)]
    pub ttl_seconds: Option<u32>,
    /// Whether the call can go out at once. When its time is up, what is held then counts as spent.
    /// False: until `POST /api/charges/{hold_id}/dispatched`, it is given back instead.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub dispatched: bool,
}

/// Says that a hold's call goes out now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatchedRequest {
    /// Must be the current lease of the hold's task.
    pub lease_token: Option<Uuid>,
}

/// Whether the call may go out.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dispatched {
    /// False: the hold is over, and the call must not be made with it.
    pub dispatched: bool,
}

/// More for an open hold: dollars, or usage at the prices that were pinned on it; or only time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    #[schema(minimum = 0)]
    pub more_usd: Option<Usd>,
    /// Units and quantities, beside those that are held already.
    #[schema(
        value_type = Option<Object>,
        example = json!({"output_token": 500})
    )]
    pub usage: Option<SmallJson>,
    /// For how long from now it lasts at least: 1 second to 30 days, 10 minutes when left out.
    #[schema(minimum = 1, maximum = 2592000)]
    pub ttl_seconds: Option<u32>,
    /// The same key extends once.
    #[schema(min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// What the gate says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DispatchOutcome {
    pub admitted: bool,
    /// To settle or release.
    pub hold_id: Option<Uuid>,
    /// The service that is billed.
    pub service_id: Option<Uuid>,
    /// The service that was asked for, when a substitute is billed.
    pub delegated_from: Option<Uuid>,
    #[serde(default)]
    pub held_usd: Option<Usd>,
    /// Why it was refused or delegated.
    pub reason: Option<String>,
    /// The reason for programs: budget_exceeded, service_suspended, service_disabled,
    /// service_deferred, price_unknown, no_estimate, too_much_held, stopped, paused; of an extension
    /// also hold_over and reserve_anew.
    pub code: Option<String>,
    /// Null: no hard limit.
    pub remaining_usd: Option<Usd>,
    /// How much usage that buys: the mix that was asked for or, without usage, each unit alone.
    #[schema(value_type = Option<Object>)]
    pub max_affordable_units: Option<Map<String, Value>>,
    /// When the hold ends by itself (RFC 3339).
    pub expires_at: Option<String>,
    /// With a refusal: what limit refused (service, agent, task, run, user).
    #[serde(default)]
    pub scope: Option<String>,
    #[serde(default)]
    pub needed_usd: Option<Usd>,
    /// With service_deferred: when its provider serves again (RFC 3339).
    #[serde(default)]
    pub deferred_until: Option<String>,
    /// With a refusal of a task that waits now: AWAITING_APPROVAL.
    #[serde(default)]
    pub task_status: Option<String>,
    #[serde(default)]
    pub approval_id: Option<Uuid>,
}

/// The real cost: dollars, or usage at the prices that were in force when the money was set aside.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    #[schema(minimum = 0)]
    pub amount_usd: Option<Usd>,
    #[schema(
        value_type = Option<Object>,
        example = json!({"input_token": 1180, "output_token": 412})
    )]
    pub usage: Option<SmallJson>,
}

/// What was charged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Settlement {
    pub charged_usd: Usd,
    /// Charged beyond what was still held.
    pub overage_usd: Usd,
    /// The hold had expired or was released.
    pub late: bool,
    /// The hold's time was up, so all of it counted as spent: this cost replaces that.
    #[serde(default)]
    pub presumed: bool,
    /// The service's budget is used up.
    pub suspended: bool,
    /// Of the service; null: no hard limit.
    pub remaining_usd: Option<Usd>,
}

/// What a charge really came to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectionRequest {
    #[schema(minimum = 0)]
    pub amount_usd: Usd,
    /// Why, for the ledger and the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// A charge that was corrected.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Correction {
    pub charge_id: Uuid,
    pub before_usd: Usd,
    pub amount_usd: Usd,
    /// The row of the ledger that makes up the difference; null: there was none.
    pub adjustment_id: Option<Uuid>,
    pub service_id: Uuid,
    /// The service's budget is used up.
    pub suspended: bool,
    /// Of the service; null: no hard limit.
    pub remaining_usd: Option<Usd>,
}

/// Whether money was given back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Release {
    /// False: the hold was settled or released before, or has expired.
    pub released: bool,
}

impl Validate for Dispatch {
    fn validate(&self) -> ApiResult<()> {
        check_ttl(self.ttl_seconds)
    }
}

impl Validate for DispatchedRequest {}

impl Validate for ExtendRequest {
    fn validate(&self) -> ApiResult<()> {
        check_ttl(self.ttl_seconds)?;
        if self.more_usd.is_some() || self.usage.is_some() || self.ttl_seconds.is_some() {
            return Ok(());
        }
        let missing = "more_usd or usage or ttl_seconds must be given";
        Err(ApiError::invalid("more_usd", missing))
    }
}

impl Validate for CorrectionRequest {}

fn check_ttl(ttl_seconds: Option<u32>) -> ApiResult<()> {
    if ttl_seconds.is_some_and(|ttl| !(1..=MAX_TTL_SECONDS).contains(&ttl)) {
        let range = "ttl_seconds must be 1 to 2592000, which is 30 days";
        return Err(ApiError::invalid("ttl_seconds", range));
    }
    Ok(())
}

impl Validate for SettleRequest {
    fn validate(&self) -> ApiResult<()> {
        check_cost("amount_usd", self.amount_usd, self.usage.as_ref())
    }
}

fn check_cost(name: &str, usd: Option<Usd>, usage: Option<&SmallJson>) -> ApiResult<()> {
    if usd.is_some() || usage.is_some() {
        return Ok(());
    }
    Err(ApiError::invalid(
        name,
        format!("{name} or usage must be given"),
    ))
}

fn yes() -> bool {
    true
}
