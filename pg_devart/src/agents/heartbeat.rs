//! Heartbeats: an agent lives, and keeps its tasks.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::caller;
use crate::error::Error;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, statement};
use crate::settings;

statement!(
    HEARTBEAT,
    include_str!("heartbeat.sql"),
    [UUIDOID, JSONBOID, FLOAT8OID]
);

/// Notes that the agent lives and extends its leases by `lease_seconds`.
///
/// `detail`: what the agent says of itself; `lease_tokens` in it lists the leases to extend
/// (without it, all). Answers `status`, `leases_extended`, `active_task_count`, `stop`: whether to
/// stop, and `queues`: those in which messages about tasks arrive that this agent can do.
/// Errors: P0002 no such agent, 42501 not the caller's own, 22023 operator named none.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn agent_heartbeat(
    agent_id: default!(Option<Uuid>, "NULL"),
    detail: default!(Option<RawJsonb>, "NULL"),
) -> Result<RawJsonb, ErrorReport> {
    let agent_id = caller::acting_agent(agent_id)?;
    let answer = spi::connect(|session| {
        HEARTBEAT.with(|statement| {
            let lease_seconds = settings::current(session).lease_seconds;
            let arguments = [agent_id.into(), detail.into(), lease_seconds.into()];
            let rows = statement.rows(session, &arguments);
            rows.first().map(|row| row.required(1))
        })
    });
    let unknown = || Error::not_found("agent_id", format!("names no agent: {agent_id}"));
    Ok(answer.ok_or_else(unknown)?)
}
