//! X-Agent-Key: an agent's own key.

use devart_core::api_key;
use sqlx::PgPool;
use uuid::Uuid;

use crate::data;
use crate::error::{ApiError, ApiResult};

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
    /// 401 when the form or the checksum is wrong.
    pub fn parse(text: &str) -> ApiResult<Self> {
        let parsed =
            api_key::parse(text).map_err(|error| ApiError::unauthenticated(error.to_string()))?;
        Ok(Self {
            key_id: parsed.key_id,
            sha256: api_key::sha256(text),
        })
    }

    /// Asks the database whose key this is.
    ///
    /// # Errors
    /// 401 when it is unknown, expired or revoked.
    pub async fn authenticate(&self, pool: &PgPool) -> ApiResult<Uuid> {
        data::identity::agent_of_key(pool, &self.key_id, &self.sha256)
            .await?
            .ok_or_else(|| {
                ApiError::unauthenticated("this agent key is unknown, expired or revoked")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_refused_before_any_query() {
        let key = api_key::generate();
        assert!(PresentedKey::parse(&key).is_ok());
        let refused = PresentedKey::parse(&key[..key.len() - 1]).expect_err("refused");
        assert_eq!(refused.status(), 401);
    }

    #[test]
    fn the_key_itself_is_not_kept() {
        let key = api_key::generate();
        let presented = PresentedKey::parse(&key).expect("valid");
        assert!(!format!("{presented:?}").contains(&key[17..49]));
    }
}
