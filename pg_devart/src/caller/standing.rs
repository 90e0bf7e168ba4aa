//! Whether an agent may act at this moment: it is in service, and the key that its token was made
//! from still counts. The one check behind every function of agents.
//!
//! Sessions keep the agents and keys that they met until a row changes in what decides this
//! (sql/idempotent/255_agents_may_act.sql), so that it costs a call a look into memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use devart_core::status::AgentStatus;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::index::{Found, Index, Key};
use crate::pg::spi::{self, Session};
use crate::pg::{cached, clock, labels};

const AGENTS: Index = Index {
    schema: c"devart",
    table: c"agents",
    name: c"agents_pkey",
};
const KEYS: Index = Index {
    schema: c"devart_private",
    table: c"agent_api_keys",
    name: c"agent_api_keys_pkey",
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    InService,
    Deactivated,
    Unknown,
}

#[derive(Clone, Copy)]
struct LiveKey {
    agent_id: Uuid,
    /// In microseconds, as timestamps have it.
    expires_at: Option<i64>,
}

/// Refuses an agent that may not act, or whose key does not count any more.
///
/// # Errors
/// [`Error::NotFound`] for no such agent, [`Error::Forbidden`].
pub fn check(agent_id: Uuid, key_id: Option<&str>) -> Result<(), Error> {
    check_key(agent_id, key_id)?;
    match standing(agent_id) {
        Standing::InService => Ok(()),
        Standing::Deactivated => Err(DEACTIVATED),
        Standing::Unknown => Err(Error::not_found(
            "agent_id",
            format!("names no agent: {agent_id}"),
        )),
    }
}

pub const DEACTIVATED: Error = Error::Forbidden("the agent is deactivated");

/// Refuses a key that is revoked, expired, or another agent's. No key: the token was not made from
/// one.
///
/// # Errors
/// [`Error::Forbidden`].
pub fn check_key(agent_id: Uuid, key_id: Option<&str>) -> Result<(), Error> {
    let Some(key_id) = key_id else {
        return Ok(());
    };
    let key = met(&KEYS, "live keys", key_id.to_owned(), |session, key_id| {
        let keys = &[Key::equals(key_id.as_str())];
        KEYS.first(session, keys, live_key).flatten()
    });
    let counts = |key: &LiveKey| {
        let is_over = key.expires_at.is_some_and(|at| at <= clock::now_us());
        key.agent_id == agent_id && !is_over
    };
    key.filter(counts).map(drop).ok_or(Error::Forbidden(
        "the key that the token was made from is revoked or has expired",
    ))
}

fn live_key(found: &Found) -> Option<LiveKey> {
    let revoked_at: Option<TimestampWithTimeZone> = found.get(c"revoked_at");
    let expires_at: Option<TimestampWithTimeZone> = found.get(c"expires_at");
    revoked_at.is_none().then(|| LiveKey {
        agent_id: found.required(c"agent_id"),
        expires_at: expires_at.map(i64::from),
    })
}

fn standing(agent_id: Uuid) -> Standing {
    met(&AGENTS, "standing", agent_id, |session, agent_id| {
        let found = AGENTS.first(session, &[Key::equals(*agent_id)], is_deactivated);
        match found {
            Some(false) => Standing::InService,
            Some(true) => Standing::Deactivated,
            None => Standing::Unknown,
        }
    })
}

/// Whether this row of devart.agents is out of service.
pub fn is_deactivated(agent: &Found) -> bool {
    let status: pg_sys::Oid = agent.required(c"status");
    let deactivated = AgentStatus::Deactivated.as_c_str();
    status == labels::oid(agent.enumeration_of(c"status"), deactivated)
}

/// What `look` finds about `key`, or found when the session met it first.
fn met<K: Eq + Hash + 'static, V: Copy + 'static>(
    index: &Index,
    name: &'static str,
    key: K,
    look: impl FnOnce(&Session, &K) -> V,
) -> V {
    let kept = || cached::get_by(index, name, RefCell::<HashMap<K, V>>::default);
    let known = kept();
    if let Some(value) = known.borrow().get(&key) {
        return *value;
    }
    let value = spi::connect(|session| look(session, &key));
    // Only if nothing changed meanwhile: else it is forgotten, and what was found is too old.
    if Rc::ptr_eq(&known, &kept()) {
        known.borrow_mut().insert(key, value);
    }
    value
}
