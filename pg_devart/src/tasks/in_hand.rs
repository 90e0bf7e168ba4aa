//! How many tasks an agent may have in hand (`max_tasks_in_hand`), so that one agent does not take
//! all there are.
//!
//! Counting at each claim would cost as much as the claim. So a session counts, and then hands out
//! an eighth of what is left before it counts again, within a second: exact near the limit.

use std::cell::RefCell;
use std::collections::HashMap;

use devart_core::allowance::Allowance;
use pgrx::datum::Uuid;

use crate::pg::clock;
use crate::pg::index::{Index, Key, Purpose};
use crate::pg::spi::Session;
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

/// How many of the `wanted` tasks the agent may take now.
pub fn room(session: &Session, agent_id: Uuid, wanted: usize) -> usize {
    let now_us = clock::now_us();
    let known = ALLOWANCES.with_borrow(|known| known.get(&agent_id).copied());
    if known.is_some_and(|known| known.covers(wanted, now_us)) {
        return wanted;
    }
    let limit = settings::current(session).max_tasks_in_hand;
    let left = limit - count(session, agent_id, limit);
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
