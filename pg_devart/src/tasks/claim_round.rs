//! The rounds of one claim: tasks are picked, leased, and their money set aside, until there are
//! enough.

use std::collections::HashMap;

use devart_core::claim_round::{Start, Tally};
use devart_core::cursor::{Position, Queue};
use pgrx::datum::Uuid;

use super::claimed::{Claimed, ClaimedTask, claimed_columns};
use super::queue::{self, Picked, Search};
use super::set_aside::{self, Handed};
use super::worker::Worker;
use crate::money::deferrals;
use crate::pg::spi::{Session, statement};
use crate::row_reader::RowReader;
use crate::stops::Lines;

statement!(
    DEFER,
    "select devart_private.defer_tasks($1)",
    [UUIDARRAYOID]
);
statement!(
    CLAIM,
    concat!(include_str!("claim.sql"), claimed_columns!()),
    [UUIDARRAYOID, UUIDOID, FLOAT8OID, UUIDOID]
);

/// What a claim asks for.
pub struct Wanted {
    pub max_tasks: usize,
    pub claim_key: Option<Uuid>,
}

/// What a claim has come to so far.
pub struct Round {
    claim_key: Option<Uuid>,
    pub claimed: Vec<ClaimedTask>,
    /// What left its queue, and from where.
    pub taken: Vec<(Queue, Position)>,
    tally: Tally<Uuid>,
    stopped_lines: Lines,
}

impl Round {
    pub fn new(wanted: &Wanted) -> Self {
        Round {
            claim_key: wanted.claim_key,
            claimed: Vec::new(),
            taken: Vec::new(),
            tally: Tally::new(wanted.max_tasks),
            stopped_lines: Lines::default(),
        }
    }

    /// Picks what is missing and sets the money of those tasks aside that cost any. Whether another
    /// look is worth it.
    pub fn next(
        &mut self,
        session: &Session,
        worker: &Worker,
        start: &dyn Fn(Queue) -> Position,
    ) -> bool {
        let deferrals = deferrals::current();
        let picks = queue::pick(
            session,
            &Search {
                lanes: &worker.lanes,
                start,
                wanted: self.tally.missing(),
                unwanted_services: self.tally.unwanted(),
                deferrals: &deferrals,
                aging_us: worker.aging_us,
                stops: &worker.stops,
                stopped_lines: &self.stopped_lines,
            },
        );
        self.defer(session, &picks.deferred);
        if picks.overtaken && picks.tasks.is_empty() {
            return self.tally.after_overtaken();
        }
        self.hand_out(session, worker, &picks.tasks);
        self.tally.after_look()
    }

    /// Takes tasks out of their queues until their services serve again.
    fn defer(&mut self, session: &Session, picks: &[Picked]) {
        if picks.is_empty() {
            return;
        }
        let ids: Vec<Uuid> = picks.iter().map(|pick| pick.task_id).collect();
        DEFER.with(|statement| statement.rows(session, &[ids.into()]).len());
        self.taken
            .extend(picks.iter().map(|pick| (pick.queue, pick.ready_at)));
    }

    fn hand_out(&mut self, session: &Session, worker: &Worker, picks: &[Picked]) {
        if picks.is_empty() {
            return;
        }
        let turns: HashMap<Uuid, usize> = picks.iter().map(|pick| pick.task_id).zip(0..).collect();
        CLAIM.with(|statement| {
            let arguments = [
                turns.keys().copied().collect::<Vec<_>>().into(),
                worker.agent_id.into(),
                worker.lease_seconds.into(),
                self.claim_key.into(),
            ];
            let rows = statement.rows(session, &arguments);
            // An update gives rows as it finds them.
            let mut by_turn: Vec<(usize, Claimed)> = rows
                .iter()
                .map(|row| Claimed::read(&mut RowReader::of(&row)))
                .map(|task| (turns[&task.task_id], task))
                .collect();
            by_turn.sort_by_key(|(turn, _)| *turn);
            for (turn, task) in by_turn {
                self.add(session, worker, task, &picks[turn]);
            }
        });
    }

    fn add(&mut self, session: &Session, worker: &Worker, task: Claimed, pick: &Picked) {
        let may_wait = self.tally.may_wait();
        let handed = set_aside::hand_out(session, &task, worker.agent_id, may_wait);
        if !matches!(handed, Handed::Back) {
            self.taken.push((pick.queue, pick.ready_at));
        }
        self.count(&task, &handed);
        if let Handed::Out(hold_id) = handed {
            self.claimed.push(task.handed_out(hold_id));
        }
    }

    fn count(&mut self, task: &Claimed, handed: &Handed) {
        let start = match handed {
            Handed::Out(None) => None,
            Handed::Out(Some(_)) => Some(Start::Started),
            Handed::Parked => Some(Start::Parked),
            Handed::Back => Some(Start::GivenBack),
            Handed::Aside => return self.tally.set_aside(),
        };
        if let (Some(start), Some((service_id, _))) = (start, task.cost()) {
            self.tally.tried(service_id, start);
        }
        if matches!(handed, Handed::Out(_)) {
            self.tally.claimed();
        }
    }
}
