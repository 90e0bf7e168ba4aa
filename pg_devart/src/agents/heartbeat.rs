//! Heartbeats: an agent lives, and keeps its tasks.

use devart_core::json::MAX_TASK_BYTES;
use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::caller;
use crate::error::Error;
use crate::json;
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
/// stop for good, `stops`: what is stopped or paused meanwhile (scope, reason, task_id; task_id
/// null: everything), and `queues`: those in which messages about tasks arrive that this agent can do.
/// `detail` is an object of at most 256 KiB; without its `lease_tokens`, which are not kept, 16 KiB.
/// Errors: P0002 no such agent, 42501 not the caller's own, 22023 operator named none, or `detail`.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn agent_heartbeat(
    agent_id: default!(Option<Uuid>, "NULL"),
    detail: default!(Option<RawJsonb>, "NULL"),
) -> Result<RawJsonb, ErrorReport> {
    if let Some(detail) = &detail {
        check_detail(detail)?;
    }
    let agent_id = caller::reporting_agent(agent_id)?;
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

fn check_detail(detail: &RawJsonb) -> Result<(), Error> {
    json::check("detail", detail, MAX_TASK_BYTES)?;
    match detail.is_object() {
        true => Ok(()),
        false => Err(Error::invalid("detail", "must be an object")),
    }
}
