//! Settings that operators may change while devart runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;
use super::scalar::Timestamp;
use crate::http::json::SmallJson;

/// A setting.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Setting {
    pub key: String,
    pub value: Value,
    pub description: String,
    /// What the value must look like, as JSON Schema.
    pub schema: Value,
    pub updated_by: Option<Uuid>,
    pub updated_at: Timestamp,
}

/// A setting's new value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingValue {
    /// At most 16 KiB.
    #[schema(value_type = Value)]
    pub value: SmallJson,
}

/// Which settings to list, by key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SettingFilter {
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Validate for SettingValue {}
