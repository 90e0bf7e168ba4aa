//! One file for each command that does more than call a module.

pub mod agent;
pub mod doctor;
pub mod down;
pub mod migrate;
pub mod outbox;
pub mod stand_in;
pub mod status;
pub mod token;
pub mod up;
pub mod user;
