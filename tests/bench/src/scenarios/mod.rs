//! One file per question.

pub mod backlog;
pub mod bridge;
pub mod budget;
pub mod create;
pub mod create_by_api;
pub mod deferred;
pub mod drain;
pub mod lists;
pub mod long_transaction;
pub mod memory;
pub mod pickup;
pub mod round_trips;
