//! The embedded issuer: logging in where there is no Supabase Auth, in its shape.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use devart_kit::auth::{AUDIENCE, SESSION_LIFETIME};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::password;
use crate::data::identity::{self, Account};
use crate::error::{ApiError, ApiResult};
use crate::http::client_address::ClientAddress;
use crate::http::sign_in_body::SignInBody;
use crate::http::url::UrlQuery;
use crate::model::session::{GrantType, PasswordGrant, TokenAnswer, TokenQuery, User};
use crate::openapi::Problems;
use crate::state::AppState;

const PERSON_ROLE: &str = "authenticated";

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(token))
}

/// Log in
///
/// With e-mail address and password, for a session of one hour. The body has at most 16 KiB.
#[utoipa::path(
    post, path = "/auth/v1/token", tag = "sessions", params(TokenQuery),
    request_body = PasswordGrant, security(()),
    responses((status = 200, body = TokenAnswer), Problems),
)]
async fn token(
    State(state): State<AppState>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    UrlQuery(query): UrlQuery<TokenQuery>,
    SignInBody(grant): SignInBody<PasswordGrant>,
) -> ApiResult<Json<TokenAnswer>> {
    if !state.embedded_issuer {
        return Err(ApiError::not_found("sessions are issued at SUPABASE_URL"));
    }
    state.limits.count_login(address, &grant.email)?;
    // The only grant there is; matched so that another one cannot be added and forgotten here.
    let GrantType::Password = query.grant_type;
    let account = identity::account(&state.pools.people, &grant.email).await?;
    let hash = account
        .as_ref()
        .and_then(|account| account.encrypted_password.clone());
    let matches = password::matches(grant.password, hash).await?;
    match account {
        Some(account) if matches => session_for(&state, account).map(Json),
        _ => Err(invalid_credentials()),
    }
}

fn session_for(state: &AppState, account: Account) -> ApiResult<TokenAnswer> {
    let (access_token, expires_at) = state
        .tokens
        .issue_for_person(account.user_id, &account.email)?;
    Ok(TokenAnswer {
        access_token,
        token_type: "bearer",
        expires_in: SESSION_LIFETIME.as_secs() as i64,
        expires_at,
        user: User {
            id: account.user_id,
            email: account.email,
            role: PERSON_ROLE,
            aud: AUDIENCE,
        },
    })
}

/// With Supabase's own status and members, which its clients show to people.
fn invalid_credentials() -> ApiError {
    let detail = "Invalid login credentials";
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_credentials", detail)
        .with("error_code", "invalid_credentials")
        .with("msg", detail)
}
