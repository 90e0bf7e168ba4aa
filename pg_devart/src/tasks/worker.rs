//! The agent that asks for work, and what it can serve.

use std::rc::Rc;

use devart_core::capabilities;
use pgrx::datum::Uuid;

use crate::caller::standing;
use crate::error::Error;
use crate::pg::cached;
use crate::pg::index::{Index, Key, Purpose};
use crate::pg::spi::Session;
use crate::settings;
use crate::stops::{self, InForce, Work};

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
    /// What it may not be given.
    pub stops: Rc<InForce>,
}

impl Worker {
    /// Whether it may be given nothing at all.
    pub fn is_stopped(&self) -> bool {
        self.stops.refuses(&self.work(None, None, None)).is_some()
    }

    /// What begins when it takes this task.
    pub fn work(&self, task: Option<Uuid>, service: Option<Uuid>, run: Option<Uuid>) -> Work {
        Work {
            agent: Some(self.agent_id),
            service,
            run,
            task,
        }
    }
}

/// Looks the agent up.
///
/// # Errors
/// [`Error::NotFound`] for no such agent, [`Error::Forbidden`] for one that is deactivated.
pub fn load(session: &Session, agent_id: Uuid) -> Result<Worker, Error> {
    let agent = AGENTS.first(session, &[Key::equals(agent_id)], |found| {
        (!standing::is_deactivated(found)).then(|| found.required::<Vec<String>>(c"capabilities"))
    });
    let capabilities = agent
        .ok_or_else(|| Error::not_found("agent_id", format!("names no agent: {agent_id}")))?
        .ok_or(standing::DEACTIVATED)?;
    let settings = settings::current(session);
    Ok(Worker {
        agent_id,
        lanes: lanes_for(session, &capabilities),
        lease_seconds: settings.lease_seconds,
        aging_us: settings.aging_us,
        stops: stops::current(),
    })
}

fn lanes_for(session: &Session, capabilities: &[String]) -> Vec<i32> {
    let lanes = cached::get(session, &LANES, "lanes", read_lanes);
    let can_serve = |lane: &&Lane| capabilities::serves(capabilities, &lane.required);
    lanes.iter().filter(can_serve).map(|lane| lane.id).collect()
}

struct Lane {
    id: i32,
    required: Vec<String>,
}

fn read_lanes(session: &Session) -> Vec<Lane> {
    LANES.scan(session, Purpose::Read, 0, |scan| {
        scan.seek(&[]);
        let mut lanes = Vec::new();
        while let Some(lane) = scan.next() {
            lanes.push(Lane {
                id: lane.required(c"id"),
                required: lane.required(c"required_capabilities"),
            });
        }
        lanes
    })
}
