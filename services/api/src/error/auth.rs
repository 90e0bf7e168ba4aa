//! From refused credentials to answers.

use devart_kit::auth::AuthError;

use super::ApiError;

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused(sentence) => Self::unauthenticated(sentence),
            AuthError::Database(error) => error.into(),
            AuthError::Unsigned(error) => {
                tracing::error!(%error, "a token could not be signed: {error}");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use devart_kit::auth::PresentedKey;

    use super::*;

    #[test]
    fn a_mistyped_key_is_a_401() {
        let refused = PresentedKey::parse("dva_typo").expect_err("refused");
        assert_eq!(ApiError::from(refused).status(), 401);
    }
}
