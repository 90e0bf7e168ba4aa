//! What every devart service shares: configuration, telemetry, the database door, who is
//! asking, wake-ups, the outbox worker, health and shutdown. Holds no business rule and knows no table.

pub mod auth;
pub mod config;
pub mod db;
pub mod endpoint;
pub mod health;
pub mod listener;
pub mod memory;
pub mod outbox;
pub mod shutdown;
pub mod sidecar;
pub mod telemetry;
