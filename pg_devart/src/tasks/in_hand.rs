//! How many tasks an agent may have in hand (`max_tasks_in_hand`), so that one agent does not take
//! all there are.
//!
//! Counting at each claim would cost as much as the claim. So a session counts, and then hands out
//! an eighth of what is left before it counts again, within a second: exact near the limit.

use std::cell::RefCell;
use std::collections::HashMap;

use devart_core::allowance::Allowance;
use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::caller;
use crate::pg::clock;
use crate::pg::index::{Index, Key, Purpose};
use crate::pg::spi::{self, Session};
use crate::settings;

const IN_PROGRESS: Index = Index {
    schema: c"devart",
    table: c"tasks",
    name: c"tasks_in_progress_idx",
};
/// Of so many agents a session remembers what it counted.
const MOST_AGENTS: usize = 1_000;

thread_local! {
    static ALLOWANCES: RefCell<HashMap<Uuid, Allowance>> = RefCell::default();
}

/// How many more tasks the calling agent may take (the setting `max_tasks_in_hand`).
/// Errors: 42501 a deactivated agent, or none; 22023 an operator, who is no agent.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn room_for_tasks() -> Result<i32, ErrorReport> {
    let agent_id = caller::acting_agent(None)?;
    let left = spi::connect(|session| left(session, agent_id));
    Ok(i32::try_from(left).unwrap_or(i32::MAX))
}

/// How many of the `wanted` tasks the agent may take now.
pub fn room(session: &Session, agent_id: Uuid, wanted: usize) -> usize {
    let now_us = clock::now_us();
    let known = ALLOWANCES.with_borrow(|known| known.get(&agent_id).copied());
    if known.is_some_and(|known| known.covers(wanted, now_us)) {
        return wanted;
    }
    let left = left(session, agent_id);
    remember(agent_id, Allowance::of(left, now_us));
    wanted.min(left)
}

/// The agent has taken so many.
pub fn took(agent_id: Uuid, tasks: usize) {
    ALLOWANCES.with_borrow_mut(|known| {
        if let Some(allowance) = known.get_mut(&agent_id) {
            allowance.use_up(tasks);
        }
    });
}

fn remember(agent_id: Uuid, allowance: Allowance) {
    ALLOWANCES.with_borrow_mut(|known| {
        if known.len() >= MOST_AGENTS {
            known.clear();
        }
        known.insert(agent_id, allowance);
    });
}

fn left(session: &Session, agent_id: Uuid) -> usize {
    let limit = settings::current(session).max_tasks_in_hand;
    limit - count(session, agent_id, limit)
}

/// How many tasks the agent has, at most `limit`.
fn count(session: &Session, agent_id: Uuid, limit: usize) -> usize {
    IN_PROGRESS.scan(session, Purpose::Read, 1, |scan| {
        scan.seek(&[Key::equals(agent_id)]);
        let mut tasks = 0;
        while tasks < limit && scan.next().is_some() {
            tasks += 1;
        }
        tasks
    })
}
