//! Who somebody is. Asked as the login role, before any caller's role is taken on.

use devart_kit::db::{self, OneTrip};
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
    from devart_private.authenticate_password_hash($1)
        as account (user_id, email, encrypted_password)";

/// The account with this e-mail address.
pub async fn account(pool: &PgPool, email: &str) -> sqlx::Result<Option<Account>> {
    db::retrying(pool, || {
        sqlx::query_as(ACCOUNT)
            .bind(email)
            .fetch_optional(OneTrip::Alone(pool))
    })
    .await
}

/// What the calling person may do.
pub async fn my_role(db: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select devart.get_my_role()::text")
        .fetch_one(db)
        .await
}
