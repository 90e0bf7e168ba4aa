//! A claim that is asked for again, because its answer was lost on the way.
//!
//! The lease tokens of a claim with a key are made from that key, so the tasks themselves remember
//! the claim: nothing is stored for it, and what has ended since is not given again.

use pgrx::datum::Uuid;

use super::claimed::{Claimed, ClaimedTask, claimed_columns};
use crate::pg::spi::{Row, Session, statement};
use crate::row_reader::RowReader;

statement!(
    LOCK,
    "select devart_private.take_lock(hashtextextended('devart claim ' || $1::text, 0))",
    [UUIDOID]
);
statement!(
    REPLAY,
    concat!(
        "select\n",
        claimed_columns!(),
        ",\n",
        include_str!("claim_replay.sql")
    ),
    [UUIDOID, UUIDOID]
);

/// What `agent_id` still holds of an earlier claim under `key`; nothing without a key. An earlier
/// one that is under way is waited for.
pub fn replay(session: &Session, agent_id: Uuid, key: Option<Uuid>) -> Vec<ClaimedTask> {
    let Some(key) = key else {
        return Vec::new();
    };
    LOCK.with(|statement| statement.rows(session, &[key.into()]).len());
    REPLAY.with(|statement| {
        let rows = statement.rows(session, &[agent_id.into(), key.into()]);
        rows.iter().map(|row| read(&row)).collect()
    })
}

fn read(row: &Row) -> ClaimedTask {
    let mut columns = RowReader::of(row);
    let claimed = Claimed::read(&mut columns);
    claimed.handed_out(columns.optional())
}
