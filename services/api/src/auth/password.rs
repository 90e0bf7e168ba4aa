//! Checking passwords against argon2id hashes.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult};

/// Each check takes about 20 MiB and a core for a moment.
const CONCURRENT_CHECKS: usize = 2;

static CHECKS: Semaphore = Semaphore::const_new(CONCURRENT_CHECKS);

/// Checked when there is no such account, so that the time taken does not tell whether there is.
static NOBODYS_HASH: LazyLock<Option<String>> = LazyLock::new(|| {
    let hash = Argon2::default().hash_password(b"nobody's password").ok()?;
    Some(hash.to_string())
});

/// Whether the password belongs to the stored hash (PHC string). No hash belongs to no password.
///
/// # Errors
/// 500 when the check itself fails to run.
pub async fn matches(password: SecretString, stored: Option<String>) -> ApiResult<bool> {
    let _turn = CHECKS.acquire().await.map_err(|_| ApiError::internal())?;
    tokio::task::spawn_blocking(move || check(&password, stored.as_deref()))
        .await
        .map_err(|_| ApiError::internal())
}

fn check(password: &SecretString, stored: Option<&str>) -> bool {
    let account_exists = stored.is_some();
    let Some(hash) = stored.or(NOBODYS_HASH.as_deref()) else {
        return false;
    };
    let Ok(hash) = PasswordHash::new(hash) else {
        tracing::error!("a stored password hash is not in PHC string format");
        return false;
    };
    let matched = Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash);
    account_exists && matched.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(password: &str) -> String {
        let hash = Argon2::default().hash_password(password.as_bytes());
        hash.expect("hashable").to_string()
    }

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let stored = hash_of("correct horse");
        assert!(stored.starts_with("$argon2id$"));
        assert_eq!(
            matches("correct horse".into(), Some(stored.clone())).await,
            Ok(true)
        );
        assert_eq!(matches("wrong horse".into(), Some(stored)).await, Ok(false));
    }

    #[tokio::test]
    async fn a_missing_account_never_matches() {
        assert_eq!(matches("nobody's password".into(), None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_broken_hash_never_matches() {
        assert_eq!(
            matches("x".into(), Some("plain".to_owned())).await,
            Ok(false)
        );
    }
}
