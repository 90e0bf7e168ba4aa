//! The agent that asks for work, and what it can serve.

use pgrx::datum::Uuid;

use crate::error::Error;
use crate::spi::{Session, statement};

statement!(WORKER, include_str!("worker.sql"), [UUIDOID]);

/// An agent in service.
pub struct Worker {
    pub agent_id: Uuid,
    /// Lanes whose required capabilities the agent has.
    pub lanes: Vec<i32>,
    /// How long a claim lasts, in seconds.
    pub lease_seconds: f64,
    /// After waiting so long a task counts one priority higher, in seconds.
    pub aging_seconds: f64,
}

/// Looks the agent up.
///
/// # Errors
/// [`Error::NotFound`] for no such agent, [`Error::Forbidden`] for one that is deactivated.
pub fn load(session: &Session, agent_id: Uuid) -> Result<Worker, Error> {
    WORKER.with(|statement| {
        let rows = statement.rows(session, &[agent_id.into()]);
        let row = rows
            .first()
            .ok_or_else(|| Error::NotFound(format!("agent_id names no agent: {agent_id}")))?;
        if row.required(1) {
            return Err(Error::Forbidden("the agent is deactivated"));
        }
        Ok(Worker {
            agent_id,
            lanes: row.required(2),
            lease_seconds: row.get(3).unwrap_or(60.0),
            aging_seconds: row.get(4).unwrap_or(3600.0),
        })
    })
}
