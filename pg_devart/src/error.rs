//! One error enum, and the standard SQLSTATE that each case gives to the caller.

use devart_core::argument_error::ArgumentError;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Why a native function refuses. Messages begin with the name of the argument at fault.
#[derive(Debug)]
pub enum Error {
    /// P0002: the argument names nothing that exists.
    NotFound(String),
    /// 42501: the caller may not do this.
    Forbidden(&'static str),
    /// 55P03: the lease is not, or no longer, the caller's.
    LeaseLost(String),
    /// 55000: the thing is not in a state in which this can be done.
    WrongState(String),
    /// 22023: the argument makes no sense.
    InvalidArgument(String),
    /// 23505: the idempotency key was used for another request.
    Duplicate(&'static str),
}

impl Error {
    fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Error::NotFound(_) => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            Error::Forbidden(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Error::LeaseLost(_) => PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            Error::WrongState(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Error::InvalidArgument(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Error::Duplicate(_) => PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
        }
    }

    fn message(self) -> String {
        match self {
            Error::Forbidden(text) | Error::Duplicate(text) => text.to_owned(),
            Error::NotFound(text)
            | Error::LeaseLost(text)
            | Error::WrongState(text)
            | Error::InvalidArgument(text) => text,
        }
    }
}

impl From<ArgumentError> for Error {
    fn from(error: ArgumentError) -> Self {
        Error::InvalidArgument(error.to_string())
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        ErrorReport::new(error.sqlstate(), error.message(), "")
    }
}
