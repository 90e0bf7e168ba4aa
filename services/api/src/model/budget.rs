//! Limits beside those of services.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;
use super::scalar::{Timestamp, Usd};
use super::service::{BudgetPeriod, default_thresholds, utc, yes};

/// What a budget limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BudgetScope {
    /// What an agent spends.
    Agent,
    /// What a task and its descendants spend.
    Task,
    /// What a workflow run's tasks and their descendants spend.
    Run,
    /// What the tasks that a person created and their descendants spend.
    User,
}

/// A limit on an agent, a task, a workflow run or a person.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Budget {
    pub id: Uuid,
    pub scope: BudgetScope,
    /// The agent's, task's, run's or person's id.
    pub scope_id: Uuid,
    pub budget_usd: Usd,
    pub period: BudgetPeriod,
    pub time_zone: String,
    /// A hard limit refuses; a soft one only alerts.
    pub hard_limit: bool,
    /// Percentages of the budget at which an alert goes out.
    pub alert_thresholds: Vec<i32>,
    /// In the open window, from the budget's creation on.
    pub spent_usd: Usd,
    pub held_usd: Usd,
    pub window_start: Timestamp,
    /// Null: never.
    pub window_end: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// A budget to create; one per scope and id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBudget {
    pub scope: BudgetScope,
    pub scope_id: Uuid,
    #[schema(minimum = 0)]
    pub budget_usd: Usd,
    #[serde(default)]
    pub period: BudgetPeriod,
    /// Whose calendar the period follows.
    #[serde(default = "utc")]
    #[schema(default = "UTC")]
    pub time_zone: String,
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub hard_limit: bool,
    #[serde(default = "default_thresholds")]
    pub alert_thresholds: Vec<i32>,
}

/// Changes to a budget. What is left out stays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub budget_usd: Option<Usd>,
    /// Another period or time zone begins a new window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<BudgetPeriod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_limit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_thresholds: Option<Vec<i32>>,
}

/// Which budgets to list, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BudgetFilter {
    #[param(inline)]
    pub scope: Option<BudgetScope>,
    pub scope_id: Option<Uuid>,
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Uuid>,
}

impl BudgetScope {
    /// The value's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Task => "task",
            Self::Run => "run",
            Self::User => "user",
        }
    }
}

impl Validate for NewBudget {}
impl Validate for BudgetChanges {}
