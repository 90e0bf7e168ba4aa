//! Who somebody is. Asked as the login role, before any caller's role is taken on.

use devart_kit::db;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

/// An account that may log in with a password.
#[derive(Debug, FromRow)]
pub struct Account {
    pub user_id: Uuid,
    pub email: String,
    /// Argon2id, PHC string. None when the person logs in some other way.
    pub encrypted_password: Option<String>,
}

const ACCOUNT: &str = "
    select user_id, email, encrypted_password
    from devart_private.authenticate_password_hash($1) as account (user_id, email, encrypted_password)";

/// The agent a key belongs to; none when it is unknown, expired or revoked.
pub async fn agent_of_key(
    pool: &PgPool,
    key_id: &str,
    sha256: &[u8; 32],
) -> sqlx::Result<Option<Uuid>> {
    db::retrying(pool, || {
        sqlx::query_scalar("select devart_private.authenticate_agent_key($1, $2)")
            .bind(key_id)
            .bind(&sha256[..])
            .fetch_one(pool)
    })
    .await
}

/// The account with this e-mail address.
pub async fn account(pool: &PgPool, email: &str) -> sqlx::Result<Option<Account>> {
    db::retrying(pool, || {
        sqlx::query_as(ACCOUNT).bind(email).fetch_optional(pool)
    })
    .await
}

/// What the calling person may do.
pub async fn my_role(db: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select devart.get_my_role()::text")
        .fetch_one(db)
        .await
}
