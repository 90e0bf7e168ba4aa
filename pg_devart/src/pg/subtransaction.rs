//! Trying something whose locks must not stay when it fails.

use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;

/// Runs `attempt` in a subtransaction, which is kept when it gives something and else rolled back,
/// locks included. An error ends the whole transaction, as everywhere.
///
/// Postgres keeps the lock on a row that an update waited for even when the row then does not match
/// any more.
pub fn keep_if_some<T>(attempt: impl FnOnce() -> Option<T>) -> Option<T> {
    match caught(attempt) {
        Ok(outcome) => outcome,
        Err(caught) => caught.rethrow(),
    }
}

/// An error that is about the data of one attempt.
pub struct Failure {
    pub sqlstate: String,
    /// Postgres' own words.
    pub message: String,
}

/// As [`keep_if_some`], but goes on after an error that is about the data: the subtransaction is
/// rolled back, and the error given. What another attempt may overcome (a lost connection, a
/// deadlock, a timeout) ends the transaction all the same.
pub fn keep_unless_failed<T>(attempt: impl FnOnce() -> Option<T>) -> Result<Option<T>, Failure> {
    caught(attempt).map_err(|caught| match failure_of(&caught) {
        Some(failure) => failure,
        None => caught.rethrow(),
    })
}

/// The subtransaction ends before an error goes on, as PL/pgSQL does it: Postgres takes one that is
/// still open then for a savepoint of the client's, and the session would wait for a ROLLBACK.
fn caught<T>(attempt: impl FnOnce() -> Option<T>) -> Result<Option<T>, CaughtError> {
    let before = Before::begin();
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| Ok(attempt())))
        .catch_others(Err)
        .execute();
    before.end(matches!(outcome, Ok(Some(_))));
    outcome
}

/// What is put back after a subtransaction, as PL/pgSQL does for its exception blocks. Values that
/// an attempt gives are Rust's own, so nothing is lost with the subtransaction's memory.
struct Before {
    context: pg_sys::MemoryContext,
    owner: pg_sys::ResourceOwner,
}

impl Before {
    fn begin() -> Self {
        // SAFETY: a transaction runs, as in every function; context and owner are put back by
        // `end`.
        unsafe {
            let before = Before {
                context: pg_sys::CurrentMemoryContext,
                owner: pg_sys::CurrentResourceOwner,
            };
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::CurrentMemoryContext = before.context;
            before
        }
    }

    fn end(self, keep: bool) {
        // SAFETY: the subtransaction of `begin` is the innermost one, since whatever begins one
        // ends it, and an error ends those that it leaves.
        unsafe {
            match keep {
                true => pg_sys::ReleaseCurrentSubTransaction(),
                false => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
            }
            pg_sys::CurrentMemoryContext = self.context;
            pg_sys::CurrentResourceOwner = self.owner;
        }
    }
}

/// Classes of SQLSTATEs that are about the data: data exceptions, integrity, limits of the program,
/// PL/pgSQL, and what nobody thought of.
const ABOUT_DATA: [&str; 5] = ["22", "23", "54", "P0", "XX"];

fn failure_of(caught: &CaughtError) -> Option<Failure> {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic {
        ereport: report, ..
    }) = caught;
    let sqlstate = text_of(report.sql_error_code() as i32);
    let is_about_data = ABOUT_DATA.iter().any(|class| sqlstate.starts_with(class));
    is_about_data.then(|| Failure {
        message: report.message().to_owned(),
        sqlstate,
    })
}

/// Five characters of six bits each (MAKE_SQLSTATE in utils/elog.h).
fn text_of(code: i32) -> String {
    (0..5)
        .map(|place| char::from(((code >> (6 * place)) & 0x3F) as u8 + b'0'))
        .collect()
}
