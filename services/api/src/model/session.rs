//! Logging in, in the shape of Supabase Auth, and who is asking.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Validate;

/// How a session is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    Password,
}

/// Which grant is presented.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    #[param(inline)]
    pub grant_type: GrantType,
}

/// E-mail address and password. Other members are let pass: supabase-js sends some of its own.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PasswordGrant {
    pub email: String,
    #[schema(value_type = String, format = Password)]
    pub password: SecretString,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenAnswer {
    pub access_token: String,
    #[schema(example = "bearer")]
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    /// Seconds since 1970.
    pub expires_at: i64,
    pub user: User,
}

/// The person a session is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub role: &'static str,
    pub aud: &'static str,
}

/// Who is asking.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    pub id: Uuid,
    pub email: Option<String>,
    /// `admin`, `supervisor`, `viewer` or `agent`; null for a person without a role.
    pub role: Option<String>,
}

impl Validate for PasswordGrant {}
