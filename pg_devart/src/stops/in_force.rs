//! The stops in force, as sessions keep them until one comes or goes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use devart_core::status::StopScope;
use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::Work;
use crate::pg::cached;
use crate::pg::index::{Found, Index};
use crate::pg::spi::{self, statement};
use crate::pg::{labels, table_lock};

const STOPS: Index = Index {
    schema: c"devart",
    table: c"stops",
    name: c"stops_pkey",
};

statement!(
    ABOVE,
    "select coalesce(
         (select u from unnest(l.task_ids) u where u = any ($3) limit 1),
         (select u from unnest(l.run_ids) u where u = any ($4) limit 1))
     from devart_private.line_of_work($1, $2) l",
    [UUIDOID, UUIDOID, UUIDARRAYOID, UUIDARRAYOID]
);

/// A row of devart.stops.
#[derive(Debug, Clone)]
pub struct Stop {
    pub scope: StopScope,
    /// `None` for everything.
    pub scope_id: Option<Uuid>,
    reason: Option<String>,
}

impl Stop {
    /// Stable: made for programs.
    pub fn code(&self) -> &'static str {
        match self.scope {
            StopScope::All => "stopped",
            _ => "paused",
        }
    }

    /// Made for people.
    pub fn text(&self) -> String {
        let what = match self.scope {
            StopScope::All => "stopped".to_owned(),
            scope => format!("paused: the {}", scope.as_str()),
        };
        match &self.reason {
            Some(reason) => format!("{what}: {reason}"),
            None => what,
        }
    }

    fn names(&self, work: &Work) -> bool {
        let named = match self.scope {
            StopScope::All => return true,
            StopScope::Agent => work.agent,
            StopScope::Service => work.service,
            StopScope::Run => work.run,
            StopScope::Task => work.task,
        };
        named.is_some() && named == self.scope_id
    }
}

/// All stops in force.
#[derive(Default)]
pub struct InForce {
    stops: Vec<Stop>,
    /// Of these, the tasks and the runs, which stop their descendants, too.
    task_ids: Vec<Uuid>,
    run_ids: Vec<Uuid>,
}

/// What is in force now. Also in a transaction that otherwise sees the past: nothing may begin there
/// that is stopped.
pub fn current() -> Rc<InForce> {
    // A database that is older than the library.
    if !STOPS.has_table() {
        return Rc::default();
    }
    cached::get_by(&STOPS, "stops", || {
        let stops = spi::connect(|session| STOPS.all_by_now(session, read));
        InForce::of(stops)
    })
}

/// What is in force when this transaction commits: none comes or goes from now until its end.
pub fn at_commit() -> Rc<InForce> {
    if STOPS.has_table() {
        table_lock::row_share(&STOPS);
    }
    current()
}

fn read(found: &Found) -> Stop {
    Stop {
        scope: scope(found),
        scope_id: found.get(c"scope_id"),
        reason: found.get(c"reason"),
    }
}

fn scope(found: &Found) -> StopScope {
    let label: pg_sys::Oid = found.required(c"scope");
    let sql_type = found.enumeration_of(c"scope");
    let is_it = |scope: &&StopScope| labels::oid(sql_type, scope.as_c_str()) == label;
    // One of a later version: everything, to be safe.
    StopScope::ALL
        .iter()
        .find(is_it)
        .copied()
        .unwrap_or(StopScope::All)
}

impl InForce {
    fn of(stops: Vec<Stop>) -> Self {
        let ids = |scope| {
            let of_scope = stops.iter().filter(|stop| stop.scope == scope);
            of_scope.filter_map(|stop| stop.scope_id).collect()
        };
        InForce {
            task_ids: ids(StopScope::Task),
            run_ids: ids(StopScope::Run),
            stops,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// The stop that keeps this from beginning.
    pub fn refuses(&self, work: &Work) -> Option<&Stop> {
        let named = || self.stops.iter().find(|stop| stop.names(work));
        named().or_else(|| self.above(work))
    }

    /// Whether one names this itself, whatever it descends from.
    pub fn names(&self, work: &Work) -> bool {
        self.stops.iter().any(|stop| stop.names(work))
    }

    /// The stop of a task or run that this descends from.
    fn above(&self, work: &Work) -> Option<&Stop> {
        let none = self.task_ids.is_empty() && self.run_ids.is_empty();
        let spends_for_all = work.service.is_some() && work.agent.is_some();
        if none || (work.task.is_none() && !spends_for_all) {
            return None;
        }
        let id: Uuid = spi::connect(|session| {
            ABOVE.with(|statement| {
                let arguments = [
                    work.agent.into(),
                    work.task.into(),
                    self.task_ids.clone().into(),
                    self.run_ids.clone().into(),
                ];
                let rows = statement.rows(session, &arguments);
                rows.first().and_then(|row| row.get(1))
            })
        })?;
        self.stops.iter().find(|stop| stop.scope_id == Some(id))
    }
}

/// Which tasks are stopped or descend from something that is, asked once for each: a run may have
/// 100,000 tasks that wait.
#[derive(Default)]
pub struct Lines(RefCell<HashMap<Uuid, bool>>);

impl Lines {
    /// Whether what descends from this task, or the task itself, is stopped.
    pub fn of(&self, task_id: Uuid, in_force: &InForce) -> bool {
        if let Some(known) = self.0.borrow().get(&task_id) {
            return *known;
        }
        let work = Work {
            task: Some(task_id),
            ..Work::default()
        };
        let is_stopped = in_force.refuses(&work).is_some();
        self.0.borrow_mut().insert(task_id, is_stopped);
        is_stopped
    }
}
