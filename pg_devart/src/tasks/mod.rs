//! What workers do with tasks, from claim to completion (design/data-model.md, "A task's life").

mod arrival;
mod claim;
mod claim_round;
mod claimed;
mod complete;
mod cursors;
mod events;
mod fail;
mod history;
mod lease;
mod lease_refusal;
mod outcome;
mod queue;
mod recall;
mod start;
mod worker;
