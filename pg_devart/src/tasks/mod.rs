//! What workers do with tasks, from claim to completion.

mod arrival;
mod claim;
mod claim_replay;
mod claim_round;
mod claimed;
mod complete;
mod cursors;
mod dependents;
mod events;
mod fail;
mod history;
mod in_hand;
mod lease;
mod lease_refusal;
mod outcome;
mod queue;
mod release;
mod runnable;
mod set_aside;
mod start;
mod worker;
