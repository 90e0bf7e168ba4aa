//! Why somebody is not who they say.

/// What checking a credential gives.
pub type AuthResult<T> = Result<T, AuthError>;

/// A credential that was refused, or could not be checked or made.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The caller's fault; the sentence is made for the caller.
    #[error("{0}")]
    Refused(String),
    /// The database could not say whose a key is.
    #[error("the key cannot be looked up: {0}")]
    Database(#[from] sqlx::Error),
    /// A token could not be signed.
    #[error("a token could not be signed: {0}")]
    Unsigned(#[from] jsonwebtoken::errors::Error),
}

impl AuthError {
    pub(super) fn refused(sentence: impl Into<String>) -> Self {
        Self::Refused(sentence.into())
    }
}
