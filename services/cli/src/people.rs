//! Accounts of people and their tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use clap::ValueEnum;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database;

/// Refuses a password that nobody should have, or that no login would take.
pub fn require_password(password: &str) -> Result<()> {
    ensure!(
        (8..=1_000).contains(&password.chars().count()),
        "a password must have 8 to 1,000 characters"
    );
    Ok(())
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything.
    Admin,
    /// Work, agents, budgets, approvals.
    Supervisor,
    /// Looking.
    Viewer,
}

impl Role {
    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Supervisor => "supervisor",
            Self::Viewer => "viewer",
        }
    }

    /// The account that tokens without a person speak for.
    pub fn account(self) -> String {
        format!("{}@devart.local", self.name())
    }
}

/// Makes an account, or gives an existing one this role and, if there is one, this password.
pub async fn put(
    connection: &mut PgConnection,
    email: &str,
    password: Option<&str>,
    role: Role,
) -> Result<Uuid> {
    let hash = password.map(hash).transpose()?;
    sqlx::query_scalar("select devart_private.put_user($1, $2, $3::devart.app_role)")
        .bind(email)
        .bind(hash)
        .bind(role.name())
        .fetch_one(connection)
        .await
        .map_err(database::explain)
        .with_context(|| format!("making the account {email}"))
}

/// Whether there is an account for this address.
pub async fn exists(connection: &mut PgConnection, email: &str) -> Result<bool> {
    sqlx::query_scalar("select exists (select from auth.users where lower(email) = lower($1))")
        .bind(email)
        .fetch_one(connection)
        .await
        .with_context(|| format!("looking for the account {email}"))
}

/// Argon2id in PHC string format.
fn hash(password: &str) -> Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash
        .map_err(|error| anyhow::anyhow!("hashing the password: {error}"))?
        .to_string())
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: Uuid,
    email: &'a str,
    role: &'a str,
    aud: &'a str,
    iss: &'a str,
    iat: u64,
    exp: u64,
}

/// A JWT that speaks for an account, as the embedded issuer would make it.
pub fn token(secret: &str, user: Uuid, email: &str, valid: Duration) -> Result<String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_secs();
    let claims = Claims {
        sub: user,
        email,
        role: "authenticated",
        aud: "authenticated",
        iss: "devart",
        iat: now,
        exp: now + valid.as_secs(),
    };
    jsonwebtoken::encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .context("signing the token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    #[test]
    fn a_token_verifies_and_names_its_account() {
        let user = Uuid::from_u128(7);
        let token = token("secret", user, "a@b", Duration::from_secs(60)).expect("a token");
        let mut validation = Validation::default();
        validation.set_audience(&["authenticated"]);
        validation.set_issuer(&["devart"]);
        let decoded = jsonwebtoken::decode::<serde_json::Value>(
            &token,
            &DecodingKey::from_secret(b"secret"),
            &validation,
        )
        .expect("valid");
        assert_eq!(decoded.claims["sub"], user.to_string());
        assert_eq!(decoded.claims["role"], "authenticated");
    }

    #[test]
    fn passwords_are_hashed_with_argon2id() {
        assert!(
            hash("correct horse")
                .expect("hashed")
                .starts_with("$argon2id$")
        );
    }
}
