//! Who calls: the role that was taken, and the person or agent that the request's claims name.
//!
//! The API, PostgREST and Supabase set both for each transaction (docs/security.md). Functions
//! that run with their owner's rights still see the caller here, since the outer user is the one
//! that SET ROLE chose.

mod kind;
pub mod standing;

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use self::kind::{Kind, kind};
use crate::error::Error;
use crate::pg::session_user;
use crate::pg::spi::{self, statement};

statement!(IS_SUPERVISOR, "select devart.is_supervisor()", []);

/// The agent that the caller acts for.
///
/// An agent acts for itself: `requested` may be left out and must not name another. Operators
/// act for whom they name.
///
/// # Errors
/// [`Error::Forbidden`] for an agent that names another, may not act now or has no valid claims,
/// [`Error::InvalidArgument`] for an operator that names nobody.
pub fn acting_agent(requested: Option<Uuid>) -> Result<Uuid, Error> {
    itself_or(calling_agent()?, requested)
}

/// The agent that the caller tells of: as [`acting_agent`], and also one that is deactivated, which
/// is how it learns of that.
///
/// # Errors
/// As [`acting_agent`].
pub fn reporting_agent(requested: Option<Uuid>) -> Result<Uuid, Error> {
    let own = named_agent()?;
    if let Some((agent_id, claims)) = &own {
        standing::check_key(*agent_id, claims.key_id.as_deref())?;
    }
    itself_or(own.map(|(agent_id, _)| agent_id), requested)
}

fn itself_or(own: Option<Uuid>, requested: Option<Uuid>) -> Result<Uuid, Error> {
    match (own, requested) {
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
/// [`Error::Forbidden`] for people and strangers, when the role is the agents' and the claims name
/// none, and for an agent that may not act now.
pub fn calling_agent() -> Result<Option<Uuid>, Error> {
    let Some((agent_id, claims)) = named_agent()? else {
        return Ok(None);
    };
    standing::check(agent_id, claims.key_id.as_deref())?;
    Ok(Some(agent_id))
}

/// The agent whose money alone the caller may give back; `None` for operators and supervisors, who
/// may do so with anybody's.
///
/// # Errors
/// [`Error::Forbidden`] as for [`calling_agent`], but not for supervisors.
pub fn releasing_agent() -> Result<Option<Uuid>, Error> {
    if kind() == Kind::Person && is_supervisor() {
        return Ok(None);
    }
    calling_agent()
}

fn is_supervisor() -> bool {
    spi::connect(|session| {
        IS_SUPERVISOR.with(|statement| {
            let rows = statement.rows(session, &[]);
            rows.first().is_some_and(|row| row.required(1))
        })
    })
}

fn named_agent() -> Result<Option<(Uuid, Claims)>, Error> {
    match kind() {
        Kind::Operator => Ok(None),
        Kind::Agent => {
            let claims = claims().ok_or(Error::Forbidden("the request's claims name no agent"))?;
            Ok(Some((claims.subject, claims)))
        }
        Kind::Person | Kind::Anonymous | Kind::Stranger => {
            Err(Error::Forbidden("only agents may do this"))
        }
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
        Kind::Anonymous | Kind::Operator | Kind::Stranger => {
            let name = session_user::outer_name();
            format!("role:{}", name.as_deref().unwrap_or("unknown"))
        }
    }
}

/// The agent that calls, or null; null also for one that may not act now.
#[pg_extern(stable, parallel_restricted)]
fn my_agent_id() -> Option<Uuid> {
    if kind() != Kind::Agent {
        return None;
    }
    calling_agent().ok()?
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

    /// Whether the caller is anybody but one of the operators of the database.
    #[pg_extern(stable, parallel_safe)]
    fn is_api_caller() -> bool {
        kind() != Kind::Operator
    }
}

/// What the request's claims say of the caller.
struct Claims {
    /// The claim `sub`.
    subject: Uuid,
    /// Of the agent's key that the token was made from.
    key_id: Option<String>,
}

/// The claims of the request; `None` unless `sub` is a UUID.
fn claims() -> Option<Claims> {
    let claims = session_user::setting(c"request.jwt.claims")?;
    let claims: serde_json::Value = serde_json::from_str(&claims).ok()?;
    let subject = uuid::Uuid::parse_str(claims.get("sub")?.as_str()?).ok()?;
    let key_id = claims.get("key_id").and_then(|key_id| key_id.as_str());
    Some(Claims {
        subject: Uuid::from_bytes(*subject.as_bytes()),
        key_id: key_id.map(str::to_owned),
    })
}

fn subject() -> Option<Uuid> {
    claims().map(|claims| claims.subject)
}
