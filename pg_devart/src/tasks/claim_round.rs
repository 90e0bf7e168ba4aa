//! The rounds of one claim: tasks are picked, leased, and their money set aside, until there are enough.

use std::collections::HashMap;

use devart_core::cursor::{Position, Queue};
use pgrx::datum::Uuid;

use super::claimed::{self, ClaimedTask};
use super::queue::{self, Picked, Search};
use super::worker::Worker;
use crate::money::claim::{CostlyTask, Outcome};
use crate::pg::spi::{Row, Session, statement};

statement!(
    CLAIM,
    include_str!("claim.sql"),
    [UUIDARRAYOID, UUIDOID, FLOAT8OID, UUIDOID]
);

/// The column of claim.sql that says what a task costs.
const ESTIMATE: i32 = 12;
/// One claim lets at most so many tasks wait for budget; what is left of their kind is passed over then.
const MAX_PARKED: usize = 20;
/// A claim that others are always faster than gives up after so many looks.
const MAX_OVERTAKEN: usize = 10;

/// What a claim asks for.
pub struct Wanted {
    pub max_tasks: usize,
    pub claim_key: Option<Uuid>,
}

/// What a claim has come to so far.
#[derive(Default)]
pub struct Round {
    max_tasks: usize,
    claim_key: Option<Uuid>,
    pub claimed: Vec<ClaimedTask>,
    /// What left its queue, and from where.
    pub taken: Vec<(Queue, Position)>,
    holds_money: bool,
    parked: usize,
    /// Parked and given back.
    refused: usize,
    /// Looks at which everything found had just been changed by others.
    overtaken: usize,
    /// Whose tasks are not worth another try in this claim.
    unwanted_services: Vec<Uuid>,
}

impl Round {
    pub fn new(wanted: &Wanted) -> Self {
        Round {
            max_tasks: wanted.max_tasks,
            claim_key: wanted.claim_key,
            ..Round::default()
        }
    }

    /// Picks what is missing and sets the money of those tasks aside that cost any. Whether another look is worth it.
    pub fn next(
        &mut self,
        session: &Session,
        worker: &Worker,
        start: &dyn Fn(Queue) -> Position,
    ) -> bool {
        let refused_before = self.refused;
        let picks = queue::pick(
            session,
            &Search {
                lanes: &worker.lanes,
                start,
                wanted: self.max_tasks - self.claimed.len(),
                unwanted_services: &self.unwanted_services,
                aging_us: worker.aging_us,
            },
        );
        if picks.overtaken && picks.tasks.is_empty() {
            self.overtaken += 1;
            return self.claimed.is_empty() && self.overtaken < MAX_OVERTAKEN;
        }
        self.hand_out(session, worker, &picks.tasks);
        self.refused > refused_before && self.claimed.len() < self.max_tasks
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
            let mut by_turn: Vec<(usize, Row)> = rows
                .iter()
                .map(|row| (turns[&row.required(1)], row))
                .collect();
            by_turn.sort_by_key(|(turn, _)| *turn);
            for (turn, row) in by_turn {
                self.add(session, worker, &row, &picks[turn]);
            }
        });
    }

    fn add(&mut self, session: &Session, worker: &Worker, row: &Row, pick: &Picked) {
        let place = (pick.queue, pick.ready_at);
        let hold_id = match CostlyTask::read(row, ESTIMATE) {
            None => None,
            Some(task) => match self.start(session, worker, &task) {
                Outcome::Started(hold_id) => Some(hold_id),
                Outcome::Parked => return self.taken.push(place),
                Outcome::GivenBack => return,
            },
        };
        self.taken.push(place);
        self.claimed.push(claimed::read(row, hold_id));
    }

    fn start(&mut self, session: &Session, worker: &Worker, task: &CostlyTask) -> Outcome {
        let outcome = task.start(session, worker.agent_id, !self.holds_money);
        match outcome {
            Outcome::Started(_) => self.holds_money = true,
            Outcome::Parked => {
                self.refused += 1;
                self.parked += 1;
                if self.parked >= MAX_PARKED {
                    self.unwanted_services.push(task.service_id);
                }
            }
            Outcome::GivenBack => {
                self.refused += 1;
                self.unwanted_services.push(task.service_id);
            }
        }
        outcome
    }
}
