//! Who calls: the role that was taken, and the person or agent that the request's claims name.
//!
//! The API, PostgREST and Supabase set both for each transaction (docs/security.md). Functions
//! that run with their owner's rights still see the caller here, since the outer user is the one
//! that SET ROLE chose.

use std::cell::OnceCell;
use std::ffi::CStr;

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::error::Error;

/// What kind of caller a role is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anonymous,
    Person,
    Agent,
    /// The owner, service_role, the API before it takes a role: trusted, and named by its role.
    Operator,
}

/// The agent that the caller acts for.
///
/// An agent acts for itself: `requested` may be left out and must not name another. Operators
/// act for whom they name.
///
/// # Errors
/// [`Error::Forbidden`] for an agent that names another or has no valid claims,
/// [`Error::InvalidArgument`] for an operator that names nobody.
pub fn acting_agent(requested: Option<Uuid>) -> Result<Uuid, Error> {
    match (calling_agent()?, requested) {
        (Some(own), Some(other)) if own != other => {
            Err(Error::Forbidden("an agent can only act for itself"))
        }
        (Some(own), _) => Ok(own),
        (None, Some(requested)) => Ok(requested),
        (None, None) => Err(Error::invalid(
            "agent_id",
            "must be given by callers who are not agents",
        )),
    }
}

/// The agent that calls, or `None` for an operator.
///
/// # Errors
/// [`Error::Forbidden`] for people, and when the role is the agents' and the claims name none.
pub fn calling_agent() -> Result<Option<Uuid>, Error> {
    match kind() {
        Kind::Operator => Ok(None),
        Kind::Agent => subject()
            .map(Some)
            .ok_or(Error::Forbidden("the request's claims name no agent")),
        Kind::Person | Kind::Anonymous => Err(Error::Forbidden("only agents may do this")),
    }
}

/// The person or agent that calls, or `None` for anonymous callers and operators.
pub fn person_or_agent() -> Option<Uuid> {
    matches!(kind(), Kind::Person | Kind::Agent).then(subject)?
}

/// How history and the audit log name the caller: `agent:<uuid>`, `user:<uuid>` or `role:<name>`.
pub fn actor() -> String {
    let subject = || subject().map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    match kind() {
        Kind::Agent => format!("agent:{}", subject()),
        Kind::Person => format!("user:{}", subject()),
        Kind::Anonymous | Kind::Operator => format!("role:{}", role_name()),
    }
}

/// The agent that calls, or null.
#[pg_extern(stable, parallel_safe)]
fn my_agent_id() -> Option<Uuid> {
    (kind() == Kind::Agent).then(subject)?
}

/// The person who calls, or null.
#[pg_extern(stable, parallel_safe)]
fn my_user_id() -> Option<Uuid> {
    (kind() == Kind::Person).then(subject)?
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// How history and the audit log name the caller.
    #[pg_extern(stable, parallel_safe)]
    fn actor() -> String {
        super::actor()
    }

    /// Whether the caller speaks for a token, and not for the operators of the database.
    #[pg_extern(stable, parallel_safe)]
    fn is_api_caller() -> bool {
        kind() != Kind::Operator
    }
}

fn kind() -> Kind {
    thread_local! {
        static ROLES: OnceCell<[(pg_sys::Oid, Kind); 3]> = const { OnceCell::new() };
    }
    let caller = outer_user();
    ROLES.with(|roles| {
        let roles = roles.get_or_init(|| {
            [
                (role_oid(c"devart_agent"), Kind::Agent),
                (role_oid(c"authenticated"), Kind::Person),
                (role_oid(c"anon"), Kind::Anonymous),
            ]
        });
        let known = roles.iter().find(|(role, _)| *role == caller);
        known.map_or(Kind::Operator, |(_, kind)| *kind)
    })
}

fn outer_user() -> pg_sys::Oid {
    // SAFETY: reads the session's state.
    unsafe { pg_sys::GetOuterUserId() }
}

/// Invalid, which equals no caller, when there is no such role.
fn role_oid(name: &CStr) -> pg_sys::Oid {
    // SAFETY: a catalog look-up within a transaction.
    unsafe { pg_sys::get_role_oid(name.as_ptr(), true) }
}

fn role_name() -> String {
    // SAFETY: gives a palloc'ed, zero-terminated name, or null for a role dropped meanwhile.
    let name = unsafe { pg_sys::GetUserNameFromId(outer_user(), true) };
    if name.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: not null, so zero-terminated.
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

/// The claim `sub` of the request, when it is a UUID.
fn subject() -> Option<Uuid> {
    // SAFETY: returns null or a zero-terminated string that lives until the setting changes.
    let claims = unsafe {
        let value = pg_sys::GetConfigOption(c"request.jwt.claims".as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value))?
    };
    let claims: serde_json::Value = serde_json::from_slice(claims.to_bytes()).ok()?;
    let subject = uuid::Uuid::parse_str(claims.get("sub")?.as_str()?).ok()?;
    Some(Uuid::from_bytes(*subject.as_bytes()))
}
