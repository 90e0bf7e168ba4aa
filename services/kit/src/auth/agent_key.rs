//! An agent's own key.

use devart_core::api_key;
use sqlx::PgPool;
use uuid::Uuid;

use super::error::{AuthError, AuthResult};
use crate::db::{self, OneTrip};

/// A key of the right form and checksum. Keeps the hash, not the key.
#[derive(Debug, Clone)]
pub struct PresentedKey {
    key_id: String,
    sha256: [u8; 32],
}

impl PresentedKey {
    /// Refuses a mistyped key without asking the database.
    ///
    /// # Errors
    /// Refused when the form or the checksum is wrong.
    pub fn parse(text: &str) -> AuthResult<Self> {
        let parsed = api_key::parse(text).map_err(|error| AuthError::refused(error.to_string()))?;
        Ok(Self {
            key_id: parsed.key_id,
            sha256: api_key::sha256(text),
        })
    }

    /// The part of it that names it and is no secret.
    pub fn id(&self) -> &str {
        &self.key_id
    }

    /// Asks the database, as the login role, whose key this is.
    ///
    /// # Errors
    /// Refused when it is unknown, expired or revoked.
    pub async fn authenticate(&self, pool: &PgPool) -> AuthResult<Uuid> {
        let agent: Option<Uuid> = db::retrying(pool, || {
            sqlx::query_scalar("select devart_private.authenticate_agent_key($1, $2)")
                .bind(&self.key_id)
                .bind(&self.sha256[..])
                .fetch_one(OneTrip::Alone(pool))
        })
        .await?;
        agent.ok_or_else(|| AuthError::refused("this agent key is unknown, expired or revoked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_refused_before_any_query() {
        let key = api_key::generate();
        assert!(PresentedKey::parse(&key).is_ok());
        let refused = PresentedKey::parse(&key[..key.len() - 1]);
        assert!(matches!(refused, Err(AuthError::Refused(_))));
    }

    #[test]
    fn the_key_itself_is_not_kept() {
        let key = api_key::generate();
        let presented = PresentedKey::parse(&key).expect("valid");
        assert!(!format!("{presented:?}").contains(&key[17..49]));
    }
}
