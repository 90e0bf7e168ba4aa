//! Claiming: hands the next tasks to an agent, each to one agent only.

use std::cell::RefCell;

use devart_core::cursor::{Cursors, Position, Queue, START};
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claimed::{self, ClaimedTask, hands_out_tasks};
use super::recall;
use super::worker::{self, Worker};
use crate::caller;
use crate::error::Error;
use crate::money::claim::{CostlyTask, Outcome};
use crate::raw_json::RawJsonb;
use crate::spi::{self, Row, Session, statement};

const PRIORITIES: [i16; 4] = [1, 2, 3, 4];
const MAX_BATCH: i32 = 1_000;

statement!(
    CLAIM,
    include_str!("claim.sql"),
    [
        INT4ARRAYOID,
        INT2ARRAYOID,
        TIMESTAMPTZARRAYOID,
        FLOAT8OID,
        INT4OID,
        UUIDOID,
        FLOAT8OID,
        UUIDARRAYOID,
        UUIDOID
    ]
);

/// The column of claim.sql that says what a task costs.
const ESTIMATE: i32 = 15;
/// One claim lets at most so many tasks wait for budget; what is left of their kind is passed over then.
const MAX_PARKED: usize = 20;

hands_out_tasks! {
    /// Takes the next task that the agent can do: by priority, then age. No row when there is none.
    ///
    /// A task with a service and an estimate comes with the `hold_id` under which its money is set aside. One whose money is
    /// refused leaves the queue and waits for budget (design/budgets.md, rule 13), and another is handed out instead.
    /// `agent_id`: null for the calling agent itself. The task is the agent's until `lease_expires_at`.
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named none.
    fn claim_next_task(agent_id: default!(Option<Uuid>, "NULL")) {
        Ok(TableIterator::new(claim(agent_id, 1, None)?))
    }
}

hands_out_tasks! {
    /// Takes up to `max_tasks` (1 to 1000) tasks at once, as [`claim_next_task`] would one by one.
    ///
    /// Within a batch, tasks of one queue (capabilities and priority) come together.
    /// `claim_key`: names this claim, so that it can be asked for again when its answer was lost. What the agent still holds
    /// of it is then given again, the same leases and nothing new; choose another key for each claim.
    /// Errors: as `claim_next_task`; 22023 `max_tasks` out of range.
    fn claim_tasks(
        agent_id: default!(Option<Uuid>, "NULL"),
        max_tasks: default!(i32, 1),
        claim_key: default!(Option<Uuid>, "NULL"),
    ) {
        Ok(TableIterator::new(claim(agent_id, max_tasks, claim_key)?))
    }
}

fn claim(
    agent_id: Option<Uuid>,
    max_tasks: i32,
    claim_key: Option<Uuid>,
) -> Result<Vec<ClaimedTask>, Error> {
    if !(1..=MAX_BATCH).contains(&max_tasks) {
        return Err(Error::InvalidArgument(format!(
            "max_tasks must be from 1 to {MAX_BATCH}"
        )));
    }
    let agent_id = caller::acting_agent(agent_id)?;
    spi::connect(|session| {
        let worker = worker::load(session, agent_id)?;
        let recalled = recall::recall(session, agent_id, claim_key);
        if !recalled.is_empty() {
            return Ok(recalled);
        }
        let wanted = Wanted {
            max_tasks,
            claim_key,
        };
        Ok(LOOKS.with_borrow_mut(|looks| looks.claim(session, &worker, &wanted)))
    })
}

/// What a claim asks for.
struct Wanted {
    max_tasks: i32,
    claim_key: Option<Uuid>,
}

thread_local! {
    static LOOKS: RefCell<Looks> = RefCell::default();
}

/// Where this session looks for work. See [`devart_core::cursor`] for why.
#[derive(Default)]
struct Looks {
    cursors: Cursors,
    /// What the last claim took, and in which transaction: it moves the cursors once that commits.
    last_claim: Option<(pg_sys::TransactionId, Vec<(Queue, Position)>)>,
}

impl Looks {
    fn claim(&mut self, session: &Session, worker: &Worker, wanted: &Wanted) -> Vec<ClaimedTask> {
        self.settle_last_claim();
        if self.cursors.rescan_due(now_us()) {
            return self.rescan(session, worker, wanted);
        }
        let claimed = self.take(session, worker, wanted, |cursors, queue| {
            cursors.position(queue)
        });
        if claimed.is_empty() && self.cursors.skips_anything() {
            return self.rescan(session, worker, wanted);
        }
        claimed
    }

    /// Looks at every queue from its head.
    fn rescan(&mut self, session: &Session, worker: &Worker, wanted: &Wanted) -> Vec<ClaimedTask> {
        let started_at = now_us();
        let claimed = self.take(session, worker, wanted, |_, _| START);
        let now = now_us();
        self.cursors.rescanned(now, now - started_at);
        claimed
    }

    /// Moves the cursors past what the last claim took, unless that was rolled back.
    fn settle_last_claim(&mut self) {
        let Some((transaction, taken)) = self.last_claim.take() else {
            return;
        };
        // SAFETY: looks up the transaction's state, which is kept for all recent transactions.
        if unsafe { pg_sys::TransactionIdDidCommit(transaction) } {
            for (queue, position) in taken {
                self.cursors.advance(queue, position);
            }
        }
    }

    /// Takes tasks until there are enough or no more. Those whose money is refused do not count, and make another round necessary.
    fn take(
        &mut self,
        session: &Session,
        worker: &Worker,
        wanted: &Wanted,
        start: impl Fn(&Cursors, Queue) -> Position,
    ) -> Vec<ClaimedTask> {
        let queues = Queues::of(worker, |queue| start(&self.cursors, queue));
        let mut round = Round::new(wanted.claim_key);
        loop {
            let missing = wanted.max_tasks - round.claimed.len() as i32;
            let refused_before = round.refused;
            pick(session, worker, missing, &queues, &mut round);
            if round.refused == refused_before || round.claimed.len() as i32 == wanted.max_tasks {
                break;
            }
        }
        if !round.taken.is_empty() {
            // SAFETY: a row was written, so the transaction has an id.
            let transaction = unsafe { pg_sys::GetCurrentTransactionId() };
            self.last_claim = Some((transaction, round.taken));
        }
        round.claimed
    }
}

/// Where to look, as arguments of claim.sql.
struct Queues {
    lanes: Vec<i32>,
    priorities: Vec<i16>,
    starts: Vec<TimestampWithTimeZone>,
}

impl Queues {
    fn of(worker: &Worker, start: impl Fn(Queue) -> Position) -> Self {
        let queues = worker
            .lanes
            .iter()
            .flat_map(|&lane| PRIORITIES.map(|priority| (lane, priority)));
        let mut all = Queues {
            lanes: Vec::new(),
            priorities: Vec::new(),
            starts: Vec::new(),
        };
        for queue in queues {
            all.lanes.push(queue.0);
            all.priorities.push(queue.1);
            all.starts.push(timestamp(start(queue)));
        }
        all
    }
}

/// What a claim has come to so far.
#[derive(Default)]
struct Round {
    claim_key: Option<Uuid>,
    claimed: Vec<ClaimedTask>,
    /// What left its queue, and from where.
    taken: Vec<(Queue, Position)>,
    holds_money: bool,
    parked: usize,
    /// Parked and given back.
    refused: usize,
    /// Whose tasks are not worth another try in this claim.
    unwanted_services: Vec<Uuid>,
}

/// Picks up to `wanted` tasks and sets the money of those aside that cost any.
fn pick(session: &Session, worker: &Worker, wanted: i32, queues: &Queues, round: &mut Round) {
    CLAIM.with(|statement| {
        let rows = statement.rows(
            session,
            &[
                queues.lanes.clone().into(),
                queues.priorities.clone().into(),
                queues.starts.clone().into(),
                worker.aging_seconds.into(),
                wanted.into(),
                worker.agent_id.into(),
                worker.lease_seconds.into(),
                round.unwanted_services.clone().into(),
                round.claim_key.into(),
            ],
        );
        rows.iter().for_each(|row| round.add(session, worker, &row));
    });
}

impl Round {
    fn new(claim_key: Option<Uuid>) -> Self {
        Round {
            claim_key,
            ..Round::default()
        }
    }

    fn add(&mut self, session: &Session, worker: &Worker, row: &Row) {
        let hold_id = match CostlyTask::read(row, ESTIMATE) {
            None => None,
            Some(task) => match self.start(session, worker, &task) {
                Outcome::Started(hold_id) => Some(hold_id),
                Outcome::Parked => return self.taken.push(place(row)),
                Outcome::GivenBack => return,
            },
        };
        self.taken.push(place(row));
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

/// The queue and the place in it that a row was picked from.
fn place(row: &Row) -> (Queue, Position) {
    let ready_at: TimestampWithTimeZone = row.required(14);
    ((row.required(12), row.required(13)), ready_at.into())
}

fn timestamp(position: Position) -> TimestampWithTimeZone {
    position
        .try_into()
        .expect("positions come from timestamps or are minus infinity")
}

fn now_us() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
