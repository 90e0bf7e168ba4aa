//! What crosses the boundaries of devart's parts, with real processes: races, restarts, permissions,
//! dump and restore, the API, the SDK. One file per behaviour.
//!
//! Needs the extension installed (`devart build-extension`) and the API built
//! (`cargo build --release -p devart-api`); `make test` does both.

mod support;

mod claim_order;
mod claim_race;
mod lease;
