//! Who calls: the role that was taken, and the person or agent that the request's claims name.
//!
//! The API, PostgREST and Supabase set both for each transaction. Functions
//! that run with their owner's rights still see the caller here, since the outer user is the one
//! that SET ROLE chose.

use std::cell::OnceCell;

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::session_user;

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
        (None, None) => Err(Error::InvalidArgument(
            "agent_id must be given by callers who are not agents".to_owned(),
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
        Kind::Anonymous | Kind::Operator => {
            let name = session_user::outer_name();
            format!("role:{}", name.as_deref().unwrap_or("unknown"))
        }
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
    let caller = session_user::outer();
    ROLES.with(|roles| {
        let roles = roles.get_or_init(|| {
            [
                (session_user::role(c"devart_agent"), Kind::Agent),
                (session_user::role(c"authenticated"), Kind::Person),
                (session_user::role(c"anon"), Kind::Anonymous),
            ]
        });
        let known = roles.iter().find(|(role, _)| *role == caller);
        known.map_or(Kind::Operator, |(_, kind)| *kind)
    })
}

/// The claim `sub` of the request, when it is a UUID.
fn subject() -> Option<Uuid> {
    let claims = session_user::setting(c"request.jwt.claims")?;
    let claims: serde_json::Value = serde_json::from_str(&claims).ok()?;
    let subject = uuid::Uuid::parse_str(claims.get("sub")?.as_str()?).ok()?;
    Some(Uuid::from_bytes(*subject.as_bytes()))
}
