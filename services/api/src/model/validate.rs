//! What a request must satisfy beyond its shape.

use crate::error::ApiResult;

/// What a body must satisfy beyond its shape. Deeper rules are the database's.
pub trait Validate {
    /// # Errors
    /// 422 naming the field.
    fn validate(&self) -> ApiResult<()> {
        Ok(())
    }
}
