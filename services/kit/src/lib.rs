//! What every devart service shares: configuration, telemetry, the database door, who is asking,
//! wake-ups, the outbox worker, the HTTP client, health and shutdown. Holds no business rule and
//! knows no table.

pub mod auth;
pub mod config;
pub mod connections;
pub mod db;
pub mod descriptors;
pub mod endpoint;
pub mod health;
pub mod http_client;
pub mod listener;
pub mod memory;
pub mod outbox;
pub mod reconnect;
pub mod shutdown;
pub mod sidecar;
pub mod telemetry;
