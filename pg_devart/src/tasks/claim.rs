//! Claiming: hands the next tasks to an agent, each to one agent only.

use std::cell::RefCell;

use devart_core::cursor::{Cursors, Position, Queue, START};
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claimed::{self, ClaimedTask, hands_out_tasks};
use super::worker::{self, Worker};
use crate::caller;
use crate::error::Error;
use crate::raw_json::RawJsonb;
use crate::spi::{self, Session, statement};

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
        FLOAT8OID
    ]
);

hands_out_tasks! {
    /// Takes the next task that the agent can do: by priority, then age. No row when there is none.
    ///
    /// `agent_id`: null for the calling agent itself. The task is the agent's until `lease_expires_at`.
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named none.
    fn claim_next_task(agent_id: default!(Option<Uuid>, "NULL")) {
        Ok(TableIterator::new(claim(agent_id, 1)?))
    }
}

hands_out_tasks! {
    /// Takes up to `max_tasks` (1 to 1000) tasks at once, as [`claim_next_task`] would one by one.
    ///
    /// Within a batch, tasks of one queue (capabilities and priority) come together.
    /// Errors: as `claim_next_task`; 22023 `max_tasks` out of range.
    fn claim_tasks(
        agent_id: default!(Option<Uuid>, "NULL"),
        max_tasks: default!(i32, 1),
    ) {
        Ok(TableIterator::new(claim(agent_id, max_tasks)?))
    }
}

fn claim(agent_id: Option<Uuid>, max_tasks: i32) -> Result<Vec<ClaimedTask>, Error> {
    if !(1..=MAX_BATCH).contains(&max_tasks) {
        return Err(Error::InvalidArgument(format!(
            "max_tasks must be from 1 to {MAX_BATCH}"
        )));
    }
    let agent_id = caller::acting_agent(agent_id)?;
    spi::connect(|session| {
        let worker = worker::load(session, agent_id)?;
        Ok(LOOKS.with_borrow_mut(|looks| looks.claim(session, &worker, max_tasks)))
    })
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
    fn claim(&mut self, session: &Session, worker: &Worker, max_tasks: i32) -> Vec<ClaimedTask> {
        self.settle_last_claim();
        if self.cursors.rescan_due(now_us()) {
            return self.rescan(session, worker, max_tasks);
        }
        let claimed = self.take(session, worker, max_tasks, |cursors, queue| {
            cursors.position(queue)
        });
        if claimed.is_empty() && self.cursors.skips_anything() {
            return self.rescan(session, worker, max_tasks);
        }
        claimed
    }

    /// Looks at every queue from its head.
    fn rescan(&mut self, session: &Session, worker: &Worker, max_tasks: i32) -> Vec<ClaimedTask> {
        let started_at = now_us();
        let claimed = self.take(session, worker, max_tasks, |_, _| START);
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

    fn take(
        &mut self,
        session: &Session,
        worker: &Worker,
        max_tasks: i32,
        start: impl Fn(&Cursors, Queue) -> Position,
    ) -> Vec<ClaimedTask> {
        let queues: Vec<Queue> = worker
            .lanes
            .iter()
            .flat_map(|&lane| PRIORITIES.map(|priority| (lane, priority)))
            .collect();
        let lanes: Vec<i32> = queues.iter().map(|queue| queue.0).collect();
        let priorities: Vec<i16> = queues.iter().map(|queue| queue.1).collect();
        let starts: Vec<TimestampWithTimeZone> = queues
            .iter()
            .map(|&queue| timestamp(start(&self.cursors, queue)))
            .collect();
        CLAIM.with(|statement| {
            let rows = statement.rows(
                session,
                &[
                    lanes.into(),
                    priorities.into(),
                    starts.into(),
                    worker.aging_seconds.into(),
                    max_tasks.into(),
                    worker.agent_id.into(),
                    worker.lease_seconds.into(),
                ],
            );
            if !rows.is_empty() {
                let taken = rows.iter().map(|row| {
                    let ready_at: TimestampWithTimeZone = row.required(14);
                    ((row.required(12), row.required(13)), ready_at.into())
                });
                // SAFETY: a row was written, so the transaction has an id.
                self.last_claim = Some((
                    unsafe { pg_sys::GetCurrentTransactionId() },
                    taken.collect(),
                ));
            }
            rows.iter().map(|row| claimed::read(&row)).collect()
        })
    }
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
