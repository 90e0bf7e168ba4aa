//! Services that cost money.

use devart_core::moment::LONGEST_DELAY_SECONDS;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;
use super::agent::check_name;
use super::scalar::{Timestamp, Usd, present};
use crate::error::{ApiError, ApiResult};

/// Whether a service may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceState {
    Active,
    Suspended,
    Disabled,
}

/// How often a budget starts again.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// Never: one budget for good.
    #[default]
    None,
    Day,
    Week,
    Month,
}

/// A service with a budget.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Service {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub status: ServiceState,
    /// Null: no limit.
    pub budget_usd: Option<Usd>,
    pub period: BudgetPeriod,
    pub time_zone: String,
    pub spent_usd: Usd,
    pub held_usd: Usd,
    pub substitute_service_id: Option<Uuid>,
    /// Percentages of the budget at which an alert goes out.
    pub alert_thresholds: Vec<i32>,
    /// A hard limit refuses and suspends; a soft one only alerts.
    pub hard_limit: bool,
    pub created_at: Timestamp,
    /// Its provider serves again then; null: it does.
    pub deferred_until: Option<Timestamp>,
    /// Why, in the words of whoever put it off.
    pub deferred_reason: Option<String>,
    /// Held at least for a call whose cost nobody estimated; null: such calls need a history.
    pub estimate_floor_usd: Option<Usd>,
}

/// A service and how much of its budget is left.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct ServiceStatus {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub status: ServiceState,
    pub budget_usd: Option<Usd>,
    pub period: BudgetPeriod,
    pub time_zone: String,
    pub spent_usd: Usd,
    pub held_usd: Usd,
    /// Null: no limit.
    pub remaining_usd: Option<Usd>,
    pub used_percent: Option<Usd>,
    pub substitute_service_id: Option<Uuid>,
    pub substitute_name: Option<String>,
    pub alert_thresholds: Vec<i32>,
    pub hard_limit: bool,
    pub created_at: Timestamp,
    pub window_start: Timestamp,
    /// When the budget starts again; null: never.
    pub window_end: Option<Timestamp>,
    /// Its provider serves again then; null: it does.
    pub deferred_until: Option<Timestamp>,
    /// Why, in the words of whoever put it off.
    pub deferred_reason: Option<String>,
    /// Held at least for a call whose cost nobody estimated; null: such calls need a history.
    pub estimate_floor_usd: Option<Usd>,
}

/// Until when a service is put off: a moment or a delay, one of the two. A moment that is past ends
/// it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deferral {
    pub until: Option<Timestamp>,
    /// From now on; 0 ends it.
    #[schema(minimum = 0, maximum = 31536000)]
    pub seconds: Option<f64>,
    /// For people; cut at 1000 characters.
    pub reason: Option<String>,
}

/// A service to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    pub description: Option<String>,
    /// Left out: no limit.
    #[schema(minimum = 0)]
    pub budget_usd: Option<Usd>,
    #[serde(default)]
    pub period: BudgetPeriod,
    /// Whose calendar the period follows.
    #[serde(default = "utc")]
    #[schema(default = "UTC")]
    pub time_zone: String,
    /// Used instead when this one is suspended or exhausted.
    pub substitute_service_id: Option<Uuid>,
    /// Percentages of the budget at which an alert goes out.
    #[serde(default = "default_thresholds")]
    pub alert_thresholds: Vec<i32>,
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub hard_limit: bool,
}

/// Changes to a service. What is left out stays; null clears.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    /// DISABLED takes the service out of use. A suspension ends with more budget or with the next
    /// window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ServiceState>,
    /// Null: no limit.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Usd>, minimum = 0)]
    pub budget_usd: Option<Option<Usd>>,
    /// Another period or time zone begins a new window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<BudgetPeriod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Uuid>)]
    pub substitute_service_id: Option<Option<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_thresholds: Option<Vec<i32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_limit: Option<bool>,
    /// Held at least for a call whose cost nobody estimated.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Usd>, minimum = 0)]
    pub estimate_floor_usd: Option<Option<Usd>>,
}

/// More budget: by an amount, or to an amount; one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetIncrease {
    /// By how much.
    pub amount_usd: Option<Usd>,
    /// To how much; not less than it is.
    pub budget_usd: Option<Usd>,
}

/// What a unit of a service costs.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct ServicePrice {
    pub id: Uuid,
    pub service_id: Uuid,
    #[schema(example = "input_token")]
    pub unit: String,
    pub usd_per_unit: Usd,
    pub effective_from: Timestamp,
    /// Null: until further notice.
    pub effective_to: Option<Timestamp>,
    pub created_by: Option<Uuid>,
    pub created_at: Timestamp,
    /// A call that uses more than so many pays `usd_per_unit_above` for each of them.
    pub above_units: Option<Usd>,
    pub usd_per_unit_above: Option<Usd>,
}

/// A price to set; it ends the one before it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewServicePrice {
    #[schema(example = "input_token", pattern = "^[a-z][a-z0-9_]{0,63}$")]
    pub unit: String,
    /// At most twelve decimals.
    #[schema(minimum = 0)]
    pub usd_per_unit: Usd,
    /// Left out: now.
    pub effective_from: Option<Timestamp>,
    /// A call that uses more than so many pays `usd_per_unit_above` for each of them: a long
    /// context. Both or neither.
    #[schema(minimum = 0)]
    pub above_units: Option<Usd>,
    /// Not less than `usd_per_unit`.
    #[schema(minimum = 0)]
    pub usd_per_unit_above: Option<Usd>,
}

/// Which services to list, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ServiceFilter {
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Uuid>,
}

/// A cost that has arisen.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCharge {
    #[schema(minimum = 0)]
    pub amount_usd: Usd,
    /// The task it was for.
    pub task_id: Option<Uuid>,
    /// The same key charges once.
    #[schema(min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// What came of a charge.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChargeOutcome {
    pub success: bool,
    /// The service that was billed.
    pub charged_service_id: Option<Uuid>,
    /// A substitute was billed.
    #[serde(default)]
    pub delegated: bool,
    /// The charge used up the budget.
    #[serde(default)]
    pub suspended: bool,
    pub spent_usd: Option<Usd>,
    pub remaining_usd: Option<Usd>,
    /// Why it was refused or delegated.
    pub reason: Option<String>,
    /// With a refusal: budget_exceeded, service_suspended, service_disabled, stopped or
    /// paused.
    #[serde(default)]
    pub code: Option<String>,
}

impl BudgetPeriod {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl Validate for NewService {
    fn validate(&self) -> ApiResult<()> {
        check_name(&self.name)
    }
}

impl Validate for ServiceChanges {
    fn validate(&self) -> ApiResult<()> {
        self.name.as_deref().map_or(Ok(()), check_name)
    }
}

impl Validate for BudgetIncrease {
    fn validate(&self) -> ApiResult<()> {
        if self.amount_usd.is_some() != self.budget_usd.is_some() {
            return Ok(());
        }
        let detail = "amount_usd or budget_usd must be given, and only one of them";
        Err(ApiError::invalid("amount_usd", detail))
    }
}

impl Validate for Deferral {
    fn validate(&self) -> ApiResult<()> {
        if self.until.is_some() == self.seconds.is_some() {
            let detail = "until or seconds must be given, and only one of them";
            return Err(ApiError::invalid("until", detail));
        }
        let longest = LONGEST_DELAY_SECONDS as f64;
        if self
            .seconds
            .is_some_and(|seconds| !(0.0..=longest).contains(&seconds))
        {
            let detail = "seconds must be 0 to 31536000, which is a year";
            return Err(ApiError::invalid("seconds", detail));
        }
        Ok(())
    }
}

impl Validate for NewServicePrice {}

impl Validate for NewCharge {}

pub(super) fn utc() -> String {
    "UTC".to_owned()
}

pub(super) fn default_thresholds() -> Vec<i32> {
    vec![50, 80, 100]
}

pub(super) fn yes() -> bool {
    true
}
