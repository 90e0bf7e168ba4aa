//! What workers do with tasks, from claim to completion (design/data-model.md, "A task's life").

mod arrival;
mod claim;
mod claimed;
mod complete;
mod events;
mod fail;
mod history;
mod lease;
mod new_row;
mod outcome;
mod queue;
mod recall;
mod round;
mod start;
mod worker;
