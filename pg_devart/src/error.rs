//! One error enum, and the standard SQLSTATE that each case gives to the caller.
//!
//! An error that is about an argument has two readers: people read the message, which begins with
//! the argument's name, and programs the DETAIL, which is JSON: `{"field": "<name>"}`.

use std::borrow::Cow;

use devart_core::argument_error::ArgumentError;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Why a native function refuses.
#[derive(Debug)]
pub enum Error {
    /// P0002: the argument names nothing that exists.
    NotFound(ArgumentError),
    /// 42501: the caller may not do this.
    Forbidden(&'static str),
    /// 55P03: the lease is not, or no longer, the caller's.
    LeaseLost(ArgumentError),
    /// 55000: what the argument names is not in a state in which this can be done.
    WrongState(ArgumentError),
    /// 22023: the argument makes no sense.
    InvalidArgument(ArgumentError),
    /// 23505: the idempotency key was used for another request.
    Duplicate(ArgumentError),
    /// 55000, as DETAIL `{"code": "stopped" or "paused"}`: people have stopped or paused it.
    Stopped { text: String, code: &'static str },
}

impl Error {
    /// [`Error::NotFound`]: the message is `field` and then `problem`.
    pub fn not_found(field: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Error::NotFound(ArgumentError::new(field, problem))
    }

    /// [`Error::InvalidArgument`]: the message is `field` and then `problem`.
    pub fn invalid(field: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Error::InvalidArgument(ArgumentError::new(field, problem))
    }

    /// [`Error::WrongState`]: the message is `field` and then `problem`.
    pub fn wrong_state(field: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Error::WrongState(ArgumentError::new(field, problem))
    }

    /// [`Error::LeaseLost`]: the message is `lease_token` and then `problem`.
    pub fn lease_lost(problem: impl Into<Cow<'static, str>>) -> Self {
        Error::LeaseLost(ArgumentError::new("lease_token", problem))
    }

    fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Error::NotFound(_) => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            Error::Forbidden(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Error::LeaseLost(_) => PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            Error::WrongState(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Error::InvalidArgument(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Error::Duplicate(_) => PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
            Error::Stopped { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn argument(&self) -> Result<&ArgumentError, &str> {
        match self {
            Error::Forbidden(text) => Err(text),
            Error::Stopped { text, .. } => Err(text),
            Error::NotFound(argument)
            | Error::LeaseLost(argument)
            | Error::WrongState(argument)
            | Error::InvalidArgument(argument)
            | Error::Duplicate(argument) => Ok(argument),
        }
    }

    /// Raises it. Triggers must: pgrx gives XX000 to an error that a trigger returns.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(PgLogLevel::ERROR);
        unreachable!("an error ends the function")
    }
}

/// The argument `field`, which must not be null. What is not strict takes every argument as an
/// option: pgrx answers XX000 to a null that it was not told of.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub fn given<T>(field: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(field, "must be given"))
}

impl From<ArgumentError> for Error {
    fn from(error: ArgumentError) -> Self {
        Error::InvalidArgument(error)
    }
}

impl From<Error> for ErrorReport {
    #[track_caller]
    fn from(error: Error) -> Self {
        match error.argument() {
            Ok(argument) => ErrorReport::new(error.sqlstate(), argument.to_string(), "")
                .set_detail(argument.detail()),
            Err(text) => {
                let report = ErrorReport::new(error.sqlstate(), text.to_owned(), "");
                match &error {
                    Error::Stopped { code, .. } => {
                        report.set_detail(format!("{{\"code\": \"{code}\"}}"))
                    }
                    _ => report,
                }
            }
        }
    }
}
