//! Identifiers.

use pgrx::datum::Uuid;
use pgrx::prelude::*;

/// A new UUIDv7 (RFC 9562, section 5.7): time-ordered, so that index entries of rows made together
/// lie together. Within a session, ids increase strictly.
#[pg_extern(volatile, parallel_safe)]
fn uuid_v7() -> Uuid {
    Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes())
}
