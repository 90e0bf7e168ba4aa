//! The agent that asks for work, and what it can serve.

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::error::Error;
use crate::index::{Found, Index, Key, Purpose};
use crate::spi::Session;
use crate::{labels, settings};

const AGENTS: Index = Index {
    schema: c"devart",
    table: c"agents",
    name: c"agents_pkey",
};
const LANES: Index = Index {
    schema: c"devart_private",
    table: c"lanes",
    name: c"lanes_pkey",
};

/// An agent in service.
pub struct Worker {
    pub agent_id: Uuid,
    /// Lanes whose required capabilities the agent has.
    pub lanes: Vec<i32>,
    /// How long a claim lasts, in seconds.
    pub lease_seconds: f64,
    /// After waiting so long a task counts one priority higher, in microseconds.
    pub aging_us: i64,
}

/// Looks the agent up.
///
/// # Errors
/// [`Error::NotFound`] for no such agent, [`Error::Forbidden`] for one that is deactivated.
pub fn load(session: &Session, agent_id: Uuid) -> Result<Worker, Error> {
    let agent = AGENTS.first(session, &[Key::equals(agent_id)], |found| {
        (!is_deactivated(found)).then(|| found.required::<Vec<String>>(c"capabilities"))
    });
    let capabilities = agent
        .ok_or_else(|| Error::NotFound(format!("agent_id names no agent: {agent_id}")))?
        .ok_or(Error::Forbidden("the agent is deactivated"))?;
    let aging_seconds = settings::number(session, "priority_aging_seconds").unwrap_or(3600.0);
    Ok(Worker {
        agent_id,
        lanes: lanes_for(session, &capabilities),
        lease_seconds: settings::number(session, "lease_seconds").unwrap_or(60.0),
        aging_us: (aging_seconds * 1e6) as i64,
    })
}

fn is_deactivated(agent: &Found) -> bool {
    let status: pg_sys::Oid = agent.required(c"status");
    status == labels::oid(agent.type_of(c"status"), c"DEACTIVATED")
}

fn lanes_for(session: &Session, capabilities: &[String]) -> Vec<i32> {
    LANES.scan(session, Purpose::Read, 0, |scan| {
        scan.seek(&[]);
        let mut lanes = Vec::new();
        while let Some(lane) = scan.next() {
            let required: Vec<String> = lane.required(c"required_capabilities");
            if required.iter().all(|one| capabilities.contains(one)) {
                lanes.push(lane.required(c"id"));
            }
        }
        lanes
    })
}
