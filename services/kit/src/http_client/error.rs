//! Why an exchange failed, in words that do not name the URL.

use std::error::Error;
use std::time::Duration;

/// Why an exchange failed. Each reads as the end of a sentence that begins with the server's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Nobody there, nobody to trust, or it hung up; it may have the request nevertheless.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It may have the request, and do what was asked.
    #[error("did not answer within {0:?}")]
    TimedOut(Duration),
    /// It has the request, but not all of its answer came.
    #[error("broke off its answer: {0}")]
    BrokenOff(String),
    /// It has the request, and answered more bytes than are taken.
    #[error("answered more than {0} bytes")]
    TooLarge(usize),
}

/// What an error of the library says, with its causes but without the URL.
pub(super) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let mut words = Vec::new();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.join(": ")
}
