//! Whether the database can serve this program.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::PgPool;

use crate::db::OneTrip;

/// A probe that hangs is as useless as one that fails.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The files of `sql/incremental` that this program was built with: its schema has them all.
const MIGRATIONS: &[&str] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

const UNDEFINED_FUNCTION: &str = "42883";
const DISK_FULL: &str = "53100";

/// Whether a statement of this process was refused for want of room, and none of the probes after
/// it has found any.
static DISK_IS_FULL: AtomicBool = AtomicBool::new(false);

/// Tells readiness what a statement was refused with.
pub fn note_refusal(sqlstate: &str) {
    if sqlstate == DISK_FULL {
        DISK_IS_FULL.store(true, Relaxed);
    }
}

/// Why the database cannot serve this program: it is away, cannot be written, or has not its schema;
/// none when it can.
pub async fn database_problem(pool: &PgPool) -> Option<String> {
    let unreachable = || Some("the database does not answer".to_owned());
    tokio::time::timeout(PROBE_TIMEOUT, probe(pool))
        .await
        .unwrap_or_else(|_| unreachable())
}

async fn probe(pool: &PgPool) -> Option<String> {
    let problem = sqlx::query_scalar("select devart_private.readiness($1)")
        .bind(MIGRATIONS)
        .fetch_one(OneTrip::Alone(pool))
        .await;
    match problem {
        Ok(None) if DISK_IS_FULL.load(Relaxed) => disk_problem(pool).await,
        Ok(problem) => problem,
        Err(error) if has_code(&error, UNDEFINED_FUNCTION) => {
            Some("the schema of the database is older than this program: run devart migrate".into())
        }
        Err(_) => Some("the database does not answer".to_owned()),
    }
}

/// Asked only while there is reason to: the answer costs half a megabyte of writing.
async fn disk_problem(pool: &PgPool) -> Option<String> {
    let can_grow = sqlx::query_scalar("select devart_private.can_grow()");
    if let Ok(true) = can_grow.fetch_one(OneTrip::Alone(pool)).await {
        DISK_IS_FULL.store(false, Relaxed);
        return None;
    }
    Some("the disk of the database is full".to_owned())
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    let database = error.as_database_error();
    database.is_some_and(|error| error.code().as_deref() == Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_this_program_is_known() {
        assert_eq!(MIGRATIONS.first(), Some(&"0001_roles.sql"));
        assert!(MIGRATIONS.is_sorted());
    }
}
